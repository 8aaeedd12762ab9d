"""Tests of registry/signing, without a home."""
