"""Tests of registry/database, with real homes, files and tiny models."""
