"""Tests of registry/transparency, without a home."""
