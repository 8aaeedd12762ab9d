"""Tests of registry/evaluation, without a home."""
