"""A run on disk, and its stages."""
