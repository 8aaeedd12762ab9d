"""Tests of registry/intake, without a home."""
