"""Training: fit a network's living synapses, and evaluate it. It knows neither genetics nor wiring."""
