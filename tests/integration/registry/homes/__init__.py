"""Tests of registry/homes, with real folders, keys and databases."""
