"""Base models: prepared from what the user has, loaded, quantised, offloaded, described."""
