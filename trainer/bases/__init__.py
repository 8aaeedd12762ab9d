"""Base models: prepared from what the user has, loaded, quantized, offloaded, described."""
