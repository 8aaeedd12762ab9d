"""Strict readers for what comes from outside: paths, JSON, YAML, and what may not enter at all (pickle, code, secrets)."""
