"""Adoption: weights that were trained elsewhere, in a network of synevo."""
