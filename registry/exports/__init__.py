"""What other tools read, written from what was recorded."""
