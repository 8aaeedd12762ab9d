"""Tests of trainer/merge, with real homes, files and tiny models."""
