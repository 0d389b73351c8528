"""Tidy tables, the choice of learning rates, and the statistics that answer the study's question."""
