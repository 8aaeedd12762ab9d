"""Valid values with one field overridden, and whole homes made of them."""
