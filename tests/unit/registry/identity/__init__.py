"""Tests of registry/identity, without a home."""
