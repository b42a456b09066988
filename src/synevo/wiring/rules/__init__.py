"""How each primitive of a traced program ties the identities of its operands to those of its results."""
