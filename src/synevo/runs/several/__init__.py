"""A run on several machines or devices at once: hosts that train together, and broods whose offspring do not."""
