"""What of a network lives and dies together, found by tracing it."""
