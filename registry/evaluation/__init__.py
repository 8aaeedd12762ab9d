"""Evaluations as evidence: states of items, statistics, the item table, the figures computed from it, and the re-check.

Needs numpy and nothing else: an auditor recomputes every figure on a laptop, without the model and without torch.
"""
