"""The method of the paper: the genetic encoding, its environment, and the survival of synapses."""
