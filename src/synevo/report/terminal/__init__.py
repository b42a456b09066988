"""The report on a terminal: tables that are as wide as it is."""
