"""The report: a lineage as tables and as JSON. It computes ratios, means and deviations of what was written."""
