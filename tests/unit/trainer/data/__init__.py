"""Tests of trainer/data, without a home."""
