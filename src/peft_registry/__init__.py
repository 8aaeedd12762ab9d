"""peft-registry: a compliance-aware registry and lineage tool for fine-tuned and merged language models.

Four layers, imported downwards only: `cli` (the command line), `trainer` (what needs torch), `registry` (identity, signing,
storage, verification, records, reports) and `schemas` (values and documents). Importing this package loads none of them.

The public interface is the command `registry`, the documents that it writes and what `__all__` names here, which is nothing
yet: every module below may change in any release (docs/adr/0012-public-api.md).
"""

__all__: list[str] = []
