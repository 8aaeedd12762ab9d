"""Training, scoring and merging: everything that needs a deep-learning stack. Only `trainer.runs` knows the registry."""
