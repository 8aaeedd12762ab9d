"""Tests of registry/compliance, without a home."""
