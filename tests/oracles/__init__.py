"""What other programs say, for comparison."""
