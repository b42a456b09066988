"""Masked networks made physically smaller, and the proof that they are the same; it knows no plan, lineage or file."""
