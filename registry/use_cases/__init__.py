"""One file a command that needs no torch: what a person asks the registry to do."""
