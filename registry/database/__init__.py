"""Rows and events: what is registered, what was said about it, and the log. Tables do not leave this package."""
