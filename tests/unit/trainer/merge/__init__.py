"""Tests of trainer/merge, without a home."""
