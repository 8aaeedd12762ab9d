"""Aliases that a person bound to a policy, tested on real homes."""
