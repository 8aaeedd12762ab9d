"""Tests of registry/mlflow, without a home."""
