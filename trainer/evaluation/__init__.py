"""Scoring a model before and after: log-likelihoods, held-out loss, suites, and the evaluation that brings them together."""
