"""Tests of registry, without a home."""
