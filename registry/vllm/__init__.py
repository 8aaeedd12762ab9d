"""Registered adapters in a running vLLM, verified before they are handed to it; the only room that imports vllm."""
