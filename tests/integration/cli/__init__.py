"""Tests of cli, with real homes: what commands print."""
