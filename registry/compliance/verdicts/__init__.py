"""Indicative verdicts about a modification: pure decision tables over recorded answers, with their rules as data."""
