"""The sources of datasets, by name."""
