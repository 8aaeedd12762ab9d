"""Tests of registry/homes, without a home."""
