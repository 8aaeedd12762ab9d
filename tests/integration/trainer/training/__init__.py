"""Tests of trainer/training, with real homes, files and tiny models."""
