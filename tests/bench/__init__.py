"""Benches: ratios against a peer in one run, and CPU seconds of start-up. Never a timed test."""
