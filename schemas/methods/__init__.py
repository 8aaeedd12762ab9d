"""The methods: one declaration a file, found because it is there. Whatever is keyed by a method or a peft type derives from them.

A file of this folder holds a `METHOD`, or several in `METHODS` where they are adapters that peft loads and nothing here trains.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping

from peft_registry.schemas.block import Block
from peft_registry.schemas.methods.declaration import LAST, MethodDeclaration, TrainableMethod


def _declared() -> Iterator[MethodDeclaration]:
    for found in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{found.name}")
        own = getattr(module, "METHOD", None)
        yield from getattr(module, "METHODS", () if own is None else (own,))


def _in_order() -> dict[str, MethodDeclaration]:
    ordered = sorted(_declared(), key=lambda method: (getattr(method, "place", LAST + 1), method.name))
    by_name = {method.name: method for method in ordered}
    assert len(by_name) == len(ordered), "each method has a name of its own"
    return by_name


# every kind of result that can be loaded and evaluated, by name
DECLARED: Mapping[str, MethodDeclaration] = _in_order()
# those that `registry train` trains, by name, in the order of the table of methods
METHODS: Mapping[str, TrainableMethod] = {
    name: method for name, method in DECLARED.items() if isinstance(method, TrainableMethod)
}
METHOD_NAMES: tuple[str, ...] = tuple(METHODS)
# the blocks of a training file by name; a file may hold those of several methods, and only those that its method reads count
BLOCKS: Mapping[str, type[Block]] = {name: method.block for name, method in METHODS.items() if method.block is not None}


def _first_with(keys: Callable[[MethodDeclaration], Iterable[str]]) -> Mapping[str, MethodDeclaration]:
    """The declarations by their keys; of several with one key the first: variants come after what they are variants of."""
    found: dict[str, MethodDeclaration] = {}
    for method in DECLARED.values():
        for key in keys(method):
            found.setdefault(key, method)
    return found


# the declaration that reads the adapters of a type of peft
OF_PEFT_TYPE: Mapping[str, MethodDeclaration] = _first_with(lambda method: filter(None, [method.peft_type]))
# the declaration of what a modification record calls by a word; a switch of a method may have one of its own
OF_KIND: Mapping[str, MethodDeclaration] = _first_with(lambda method: (method.kind, *method.kinds.values()))


def in_few_bits(method: MethodDeclaration) -> MethodDeclaration:
    """The method that stores the same adapter and trains it on a base in few bits; the method itself where there is none."""
    variants = (other for other in METHODS.values() if other.needs_quantized_base)
    return next((other for other in variants if other.peft_type == method.peft_type), method)
