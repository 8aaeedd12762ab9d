"""Tests of registry/exports, without a home."""
