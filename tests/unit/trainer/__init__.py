"""Tests of trainer, without a home."""
