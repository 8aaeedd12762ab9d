"""Tests of trainer/costs, with real homes, files and tiny models."""
