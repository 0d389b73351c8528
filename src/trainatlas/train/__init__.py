"""Training: the stacked trainer, its plain reference loop, probes, and the job that trains a pack."""
