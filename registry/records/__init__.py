"""What the catalogue holds, read as values: references, statements, evaluations, lineage, checkpoints."""
