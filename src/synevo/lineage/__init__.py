"""Who descended from whom, and what comes next."""
