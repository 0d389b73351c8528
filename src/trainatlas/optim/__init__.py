"""Optimizers as elementwise updates over the stacked parameters of many trials."""
