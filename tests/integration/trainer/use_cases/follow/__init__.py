"""Trainings by somebody else's trainer, followed by the callback."""
