"""Tests of trainer/embedded, with real homes, files and tiny models."""
