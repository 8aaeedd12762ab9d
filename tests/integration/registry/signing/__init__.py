"""Tests of registry/signing, with real homes, files and tiny models."""
