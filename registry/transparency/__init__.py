"""The tamper-evident log: tree and proofs, signed checkpoints, and the checks that a store must pass. Pure."""
