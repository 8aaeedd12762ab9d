"""Tests of trainer/inputs, without a home."""
