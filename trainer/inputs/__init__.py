"""What a use case takes from the registry and from the user: found by name, checked, and handed on as values."""
