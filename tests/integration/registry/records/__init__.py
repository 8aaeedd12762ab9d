"""Tests of registry/records, with real homes, files and tiny models."""
