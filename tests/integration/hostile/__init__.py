"""What somebody hostile hands to a command."""
