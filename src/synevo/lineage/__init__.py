"""The lineage: the record of its individuals, and what comes next."""
