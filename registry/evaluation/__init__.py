"""Evaluations as evidence: states of items, statistics, the item table, the figures computed from it, and the re-check.

Every figure follows from the item table alone: an auditor recomputes it on a laptop with numpy, without the model and
without torch.
"""
