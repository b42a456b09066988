"""Wiring: find which units of a network live and die together, by tracing it."""
