"""Tests of the documentation's own tools."""
