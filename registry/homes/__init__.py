"""A home: where a registry lives, what it is configured with, and what this user knows about others."""
