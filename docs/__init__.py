"""The documentation; `generate` writes the pages of `reference/` that repeat what the code says. Not part of the wheel."""
