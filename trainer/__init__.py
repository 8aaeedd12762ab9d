"""Training, scoring and merging: everything that needs a deep-learning stack.

The packages for methods, data, evaluation and merging work on models and files and are handed no registry; the modules
beside them take what they need from one, and register what comes of it.
"""
