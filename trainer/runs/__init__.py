"""A run on disk: its folder, its state for resuming, its processes."""
