"""Tests of registry/reports, with real homes, files and tiny models."""
