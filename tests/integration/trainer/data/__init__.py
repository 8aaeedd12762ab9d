"""Tests of trainer/data, with real homes, files and tiny models."""
