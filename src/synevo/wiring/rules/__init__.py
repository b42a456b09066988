"""Rules: each ties the identities of a primitive's operands to those of its results."""
