"""Tests of trainer/machine, without a home."""
