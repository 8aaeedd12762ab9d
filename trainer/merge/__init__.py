"""Merging: fold adapters into their base, tensor by tensor, in the space of differences, with one rounding at the end."""
