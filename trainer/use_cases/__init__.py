"""One file a command that needs torch: what a person asks the trainer to do."""
