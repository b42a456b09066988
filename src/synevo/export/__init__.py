"""Export: a compacted network as a file that runs elsewhere, checked after it is written. One module a format."""
