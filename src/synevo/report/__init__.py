"""The report: a lineage as tables and as JSON. It reads what a run has written, and computes ratios of it, no more."""
