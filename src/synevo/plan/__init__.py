"""The plan of a run: its fields, how it is composed, and the presets with their measured results."""
