"""Tests of registry/verification, with real homes, files and tiny models."""
