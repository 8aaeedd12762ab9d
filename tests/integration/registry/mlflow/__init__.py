"""Tests of registry/mlflow, with real homes, files and tiny models."""
