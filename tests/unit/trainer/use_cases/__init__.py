"""Tests of trainer/runs, without a home."""
