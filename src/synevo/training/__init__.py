"""Fit a network's living synapses and evaluate it; it knows neither genetics nor wiring."""
