"""What an artifact is: digests of tensors, the identity of a base, its parameters, the manifest."""
