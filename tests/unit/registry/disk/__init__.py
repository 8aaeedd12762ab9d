"""Tests of registry/disk, without a home."""
