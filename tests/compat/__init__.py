"""What earlier releases signed, kept as it was: every later release must still verify it. Never regenerate a folder."""
