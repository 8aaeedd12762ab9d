"""Training itself: the loop, optimizers, checkpoints, trials, and fast paths with the same result."""
