"""Tests of registry, with real homes, files and tiny models."""
