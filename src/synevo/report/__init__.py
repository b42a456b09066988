"""The report shows a lineage as tables and as JSON. It computes ratios, means and deviations from the run's files."""
