"""Tests of trainer, with real homes, files and tiny models."""
