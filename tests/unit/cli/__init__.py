"""The command line's own parts: tables, progress, settings."""
