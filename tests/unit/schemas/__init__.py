"""Tests of schemas, without a home."""
