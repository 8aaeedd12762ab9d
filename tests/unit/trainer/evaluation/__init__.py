"""Tests of trainer/evaluation, without a home."""
