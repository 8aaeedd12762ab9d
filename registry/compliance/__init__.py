"""What the rules ask of a modification, and what the records answer. Decision support, not legal advice."""
