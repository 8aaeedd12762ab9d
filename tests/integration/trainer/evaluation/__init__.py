"""Tests of trainer/evaluation, with real homes, files and tiny models."""
