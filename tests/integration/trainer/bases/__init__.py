"""Tests of trainer/bases, with real homes, files and tiny models."""
