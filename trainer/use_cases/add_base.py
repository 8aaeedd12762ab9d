"""`registry base add`: from a folder, a GGUF file, a Hub id or the embedded base to a registered base.

What has to be converted lies under HOME/bases afterwards, what has to be fetched in the cache that clients of the Hub share; a
folder of the user's stays where it is.
"""

from pathlib import Path
from typing import Literal

from peft_registry.registry.compliance.base_facts import declared_base_facts
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.facts_file import read_facts
from peft_registry.registry.use_cases.add_base import AddedBase, add_base
from peft_registry.registry.use_cases.register import require_name
from peft_registry.schemas.base_model import BaseOrigin, DeclaredFacts
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.progress import Observe, ignore
from peft_registry.schemas.values import Value, declared
from peft_registry.trainer.bases.stated_facts import stated_by_gguf, stated_by_readme
from peft_registry.trainer.embedded import declared_facts, embedded_base

EMBEDDED = "embedded"
_MODES: dict[str, Literal["reference", "copy", "link"]] = {"reference": "reference", "copy": "copy", "link": "link"}


class UnknownStoreMode(InputRefused):
    what = "--store {mode} is not known"
    why = "it is reference, copy or link"
    fix = "leave it out for reference"

    mode: str


def intake_base(
    registry: Registry,
    source: str,
    *,
    name: str | None = None,
    revision: str | None = None,
    mode: str = "reference",
    facts_file: Path | None = None,
    observe: Observe = ignore,
) -> AddedBase:
    """Fetch or convert what has to be, identify it, register it.

    Raises:
        UnknownStoreMode, MalformedReference: a wrong option.
        UnknownFact, FactMalformed, FactNeedsSignature, FactsOutOfOrder, SeveralProblems: facts that are wrong.
        NameOfAnotherKind: the name is for what was made from a base.
        InputRefused, IntegrityBroken, Unavailable: the source is refused, is not what it claims, or cannot be reached.
    """
    if mode not in _MODES:
        raise UnknownStoreMode(mode)
    registry.require_writable()
    chosen = name or default_name(source)
    require_name(registry, chosen, is_base=True)
    facts = _facts(registry, facts_file)
    if source == EMBEDDED:
        origin = BaseOrigin(format="huggingface", source="embedded-base")  # no slash: nobody can take it on the Hub
        known = facts or _embedded_facts()
        return add_base(
            registry, embedded_base(), name=chosen, origin=origin, facts=known, mode=_MODES[mode], observe=observe
        )
    from peft_registry.trainer.bases.preparing import prepare_base

    prepared = prepare_base(source, revision=revision, destination=registry.folder / "bases" / chosen, observe=observe)
    return add_base(
        registry,
        prepared.folder,
        name=chosen,
        origin=prepared.origin,
        revision=prepared.revision,
        facts=_laid_over(_stated(source, prepared.folder), facts),
        mode=_MODES[mode],
        beside=prepared.beside,
        observe=observe,
    )


def _stated(source: str, folder: Path) -> dict[str, Value]:
    path = Path(source)
    return stated_by_gguf(path) if path.is_file() else stated_by_readme(folder)


def _laid_over(stated: dict[str, Value], facts: DeclaredFacts | None) -> DeclaredFacts:
    """What the files state, with what a person declares over it."""
    declared_ones = {} if facts is None else {key: getattr(facts, key) for key in DeclaredFacts.model_fields}
    return DeclaredFacts(**stated | {key: value for key, value in declared_ones.items() if value.settled})


def default_name(source: str) -> str:
    """A name from a folder, file or Hub id: its last part without `.gguf`, lower case, other characters as dashes."""
    last = source.rstrip("/").rsplit("/", 1)[-1].lower().removesuffix(".gguf")
    return "".join(character if character.isalnum() or character in "._-" else "-" for character in last).strip("._-")


def _facts(registry: Registry, file: Path | None) -> DeclaredFacts | None:
    """The facts file as declared values: `licence: Apache-2.0` is declared by whoever runs this registry."""
    return None if file is None else declared_base_facts(read_facts(file), at=registry.clock())


def _embedded_facts() -> DeclaredFacts:
    """What the project declares about its own base, in `trainer/embedded/facts.yml`."""
    stated = read_facts(declared_facts())
    by = stated["declared_by"]
    at = stated["declared_at"]

    def fact(key: str) -> Value:
        entry = stated[key]
        return declared(entry["value"], entry.get("unit"), by=by, at=at, method=entry.get("method"))

    return DeclaredFacts(
        provider=fact("provider"),
        licence=fact("licence"),
        licence_flags=declared(stated["licence"]["flags"], by=by, at=at),
        release_date=fact("release_date"),
        training_tokens=fact("training_tokens"),
        training_compute_flop=fact("training_compute"),
        is_gpai=fact("is_gpai"),
        eu_exclusion=fact("eu_exclusion"),
        acceptable_use_policy=fact("use_policy"),
        upstream_documents=fact("upstream_documents"),
        languages=fact("languages"),
    )
