"""Several runs, and a run on several machines or devices at once: hosts, and broods side by side."""
