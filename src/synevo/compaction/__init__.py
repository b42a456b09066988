"""Make masked networks physically smaller, and prove that they are the same; it knows no plan, lineage or file."""
