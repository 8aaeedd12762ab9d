"""Fresh interpreters, and what happens in them."""
