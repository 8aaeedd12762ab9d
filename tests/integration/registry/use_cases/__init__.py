"""Tests of registry/use_cases, with real homes, files and tiny models."""
