"""A lineage as it grows: on a terminal a table and a bar that move, elsewhere a line at a time."""
