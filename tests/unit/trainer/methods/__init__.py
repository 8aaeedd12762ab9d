"""Tests of trainer/methods, without a home."""
