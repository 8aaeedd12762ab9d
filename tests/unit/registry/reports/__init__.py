"""Tests of registry/reports, without a home."""
