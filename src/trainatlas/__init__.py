"""trainatlas: an atlas of neural-network training choices, measured and reported with intervals."""

__version__ = "0.1.0"
