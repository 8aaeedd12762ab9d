"""One file a command group; heavy imports sit inside the command bodies."""
