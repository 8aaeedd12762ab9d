"""Tests of trainer/use_cases, with real homes, files and tiny models."""
