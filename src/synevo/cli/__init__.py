"""The command line parses arguments, calls the library, and shows results."""
