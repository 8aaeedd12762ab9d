"""Tests of trainer/claims, without a home."""
