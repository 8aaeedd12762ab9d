"""Tests of trainer/methods, with real homes, files and tiny models."""
