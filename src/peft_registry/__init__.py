"""peft-registry: a compliance-aware registry and lineage tool for fine-tuned and merged language models.

Four layers, imported downwards only: `cli` (the command line), `trainer` (what needs torch), `registry` (identity, signing,
storage, verification, records, reports) and `schemas` (values and documents). Importing this package loads none of them.
"""
