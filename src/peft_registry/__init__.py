"""peft-registry: a compliance-aware registry and lineage tool for fine-tuned and merged language models.

    import peft_registry

    trained = peft_registry.train("example/train.yml")
    model = peft_registry.load("polite-replies:1")

Each name of `__all__` is loaded on first use: importing this package loads none of its four layers, `cli` (the command line and
this face), `trainer` (what needs torch), `registry` (identity, signing, storage, verification, records, reports) and `schemas`
(values and documents). Modules below may change in any release; what may be relied on says docs/adr/0012-public-api.md.
"""

TYPE_CHECKING = False  # not of `typing`, which would be the one module that importing this loads

if TYPE_CHECKING:
    from peft_registry.cli.callback import RegistryCallback
    from peft_registry.cli.face import (
        OpenRegistry,
        Versions,
        evaluate,
        load,
        load_tokenizer,
        merge,
        open_registry,
        pull,
        record,
        report,
        train,
        verify,
        versions,
    )
    from peft_registry.schemas.errors import (
        InputRefused,
        IntegrityBroken,
        KnownError,
        NotChecked,
        NotFound,
        Refused,
        RunFailed,
        Taken,
        Unavailable,
    )

__all__ = [
    "InputRefused",
    "IntegrityBroken",
    "KnownError",
    "NotChecked",
    "NotFound",
    "OpenRegistry",
    "Refused",
    "RegistryCallback",
    "RunFailed",
    "Taken",
    "Unavailable",
    "Versions",
    "evaluate",
    "load",
    "load_tokenizer",
    "merge",
    "open_registry",
    "pull",
    "record",
    "report",
    "train",
    "verify",
    "versions",
]

_ERRORS = frozenset(
    (
        "InputRefused",
        "IntegrityBroken",
        "KnownError",
        "NotChecked",
        "NotFound",
        "Refused",
        "RunFailed",
        "Taken",
        "Unavailable",
    )
)


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    home = "peft_registry.schemas.errors" if name in _ERRORS else "peft_registry.cli.face"
    if name == "RegistryCallback":
        home = "peft_registry.cli.callback"  # a class of transformers, which nothing else of the face loads
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
