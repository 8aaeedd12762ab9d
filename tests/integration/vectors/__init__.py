"""Test vectors that others published, counted."""
