"""Tests of trainer/hub, with real homes, files and tiny models."""
