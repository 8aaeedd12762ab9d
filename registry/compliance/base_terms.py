"""What follows from a base's record for its terms: licence flags with the exclusion of the Union, the licence's text, and the
indication whether it is a general-purpose model. Pure; nothing here reads a licence."""

import math
import re
from collections.abc import Iterable, Sequence

from peft_registry.registry.compliance.completeness import is_yes
from peft_registry.registry.compliance.verdicts.gpai import dense_flop
from peft_registry.registry.compliance.verdicts.rules import shipped_rules
from peft_registry.schemas.base_model import CAUSAL_HEADS, BaseRecord, DeclaredFacts
from peft_registry.schemas.codes import Code, Said, code, nested, says
from peft_registry.schemas.manifest import FileEntry
from peft_registry.schemas.modification import ASKED, NOT_DERIVED, NOT_FOUND_UPSTREAM, BaseUsed, UpstreamTerms
from peft_registry.schemas.values import Value, derived, measured, not_derived, unknown

EU_EXCLUSION = "eu_exclusion"
# GL J17: indicative, together with the generation of language, images or video
# what a model generates that GL J17 names
_GENERATED = ("text", "image", "video")
# the names that the Hub, GitHub and the FSF's texts go by; a file in a folder is the licence of a part
LICENCE_FILE = re.compile(r"(?:LICEN[CS]E|COPYING)(?:[-_.][^/]*)?", re.IGNORECASE)


def licence_flags_of(facts: DeclaredFacts) -> Value:
    """The licence flags that are recorded of a base, with the exclusion of the Union among them where that is stated."""
    flags = facts.licence_flags
    excluded = facts.eu_exclusion
    if not flags.known or is_yes(excluded) is not True:
        return flags
    listed = [str(flag) for flag in flags.value] if isinstance(flags.value, list) else [str(flags.value)]
    if EU_EXCLUSION in listed:
        return flags
    how = code("flags_with_exclusion", flags=flags.source, exclusion=excluded.source, by=_by(excluded))
    evidence = tuple(dict.fromkeys((*flags.evidence, *excluded.evidence)))
    return derived(sorted([*listed, EU_EXCLUSION]), method=how, evidence=evidence)


def eu_exclusion_of(facts: DeclaredFacts) -> Value:
    """`yes` or `no`: whether the provider of the base clearly excluded the Union market; a flag says it as well (GL J58)."""
    if facts.eu_exclusion.known:
        excluded = is_yes(facts.eu_exclusion)
        if excluded is None:
            return unknown(code("neither_yes_nor_no", answer=str(facts.eu_exclusion.value)[:60]))
        return facts.eu_exclusion.revised(value="yes" if excluded else "no")
    return facts.eu_exclusion if not facts.licence_flags.known else _by_flags(facts.licence_flags)


def _by_flags(flags: Value) -> Value:
    excludes = lists_exclusion(flags)
    if excludes is None:
        return not_derived(code("flags_not_all"))
    return derived("yes" if excludes else "no", method=code("by_licence_flags", flags=flags.source))


def lists_exclusion(flags: Value) -> bool | None:
    """Whether licence flags say that the Union is excluded; None where they do not, and say that there may be others."""
    if not flags.known:
        return None
    listed = flags.value if isinstance(flags.value, list) else [flags.value]
    if EU_EXCLUSION in listed:
        return True
    return None if "unknown" in listed else False


def with_derived_terms(terms: UpstreamTerms, base: BaseUsed, modalities: Value) -> UpstreamTerms:
    """The terms of a base with what follows for them from the rest of a record; what somebody stated of them stands.

    Args:
        terms: of the base.
        base: as the record has it.
        modalities: of the result, which are those of its base.
    """
    return terms.revised(
        eu_exclusion=_derived_exclusion(terms.eu_exclusion, base.licence_flags),
        gpai_indication=_derived_indication(terms.gpai_indication, base, modalities),
    )


def _derived_exclusion(recorded: Value, flags: Value) -> Value:
    is_stated = recorded.known and recorded.source != "derived"
    if is_stated or says(recorded.reason, "neither_yes_nor_no"):
        return recorded
    if flags.known:
        return _by_flags(flags)
    return NOT_FOUND_UPSTREAM if recorded.known else recorded


def _derived_indication(recorded: Value, base: BaseUsed, modalities: Value) -> Value:
    parameters = base.params_total.positive_number
    if not modalities.known or parameters is None:
        return NOT_DERIVED if recorded.known else recorded
    output = modalities.value.get("output", ()) if isinstance(modalities.value, dict) else modalities.value
    generated = [word for word in _GENERATED if word in str(output)]
    if not generated:
        return not_derived(code("generates_nothing_named"))
    return _side(parameters, base.training_compute_flop, base.training_tokens, generated)


def licence_of_merge(recorded: Value, bases: Iterable[BaseUsed]) -> Value:
    """The licence of a merge: as somebody stated it, else the one that the base and every ingredient have.

    Unknown, with what each of them has, where they have not one; asked where no ingredient has a licence of its own: then that of
    the base says nothing of the result.
    """
    is_inherited = recorded.source == "derived" or says(recorded.reason, "not_one_licence")
    if not (says(recorded.reason, "not_answered") or is_inherited):
        return recorded
    parts = tuple(bases)
    ingredients = sorted((used for used in parts if used.role.value == "ingredient"), key=_named)
    of_base = {_named(used): used.licence_id for used in parts if used.role.value == "base"}
    # earlier versions of this tool wrote the base's licence to every ingredient, which says nothing of the ingredient
    copies = [licence for licence in of_base.values() if not licence.evidence]
    if not any(used.licence_id.known and used.licence_id not in copies for used in ingredients):
        return ASKED
    of_parts = {_named(used): used.licence_id for used in ingredients}
    terms = [*of_base.values(), *of_parts.values()]
    licences = {" ".join(str(value.value).split()) for value in terms}
    if all(value.known for value in terms) and len(licences) == 1:
        evidence = dict.fromkeys(digest for used in ingredients for digest in used.licence_id.evidence)
        how = code("same_licence", ingredients=[_named(used) for used in ingredients])
        return derived(licences.pop(), method=how, evidence=tuple(evidence))
    told = [code("of_the_base", base=_licence_told(name, value)) for name, value in of_base.items()]
    told += [_licence_told(name, value) for name, value in of_parts.items()]
    return unknown(code("not_one_licence", licences=told))


def _licence_told(name: str, licence: Value) -> Code:
    if licence.known:
        return code("stated_of_file", of=name, answer=[str(licence.value)])
    return code("open_of", of=name, because=nested(licence.reason or ""))


def _named(used: BaseUsed) -> str:
    return str(used.name.value)


def licence_text_digest(files: Iterable[FileEntry]) -> Value:
    """SHA-256 of the licence file among the files of a base."""
    entries = tuple(files)
    texts = [entry for entry in entries if LICENCE_FILE.fullmatch(entry.path)]
    if len(texts) == 1:
        return measured(str(texts[0].sha256), method=code("sha256_of_base_file", path=texts[0].path))
    if texts:
        return unknown(code("several_licence_files", files=[entry.path for entry in texts]))
    return unknown(code("no_licence_file") if entries else code("files_not_recorded"))


def gpai_indication(base: BaseRecord) -> Value:
    """`above` or `below` 10^23 FLOP for a base that generates language; never an answer to the question itself.

    A model below may be general all the same, and one above may serve one narrow task (GL J17-20).
    """
    if not base.architecture.endswith(CAUSAL_HEADS):
        return not_derived(code("generation_not_recorded", architecture=base.architecture))
    return _side(base.parameters_total, base.facts.training_compute_flop, base.facts.training_tokens, ["text"])


def _side(parameters: float, stated_flop: Value, training_tokens: Value, generates: Sequence[str]) -> Value:
    flop = stated_flop.positive_number
    how = code("flop_as_recorded")
    tokens = training_tokens.positive_number
    if flop is None and tokens is not None:
        flop = dense_flop(parameters, tokens)
        how = code("flop_from_parameters_and_tokens")
    if flop is None:
        return not_derived(code("its_compute_not_recorded"))
    if not math.isfinite(flop):
        return not_derived(code("its_compute_too_large"))
    side = "above" if flop > shipped_rules().limits.gpai_flop else "below"
    return derived(
        side,
        method=code("flop_against_gpai", flop=flop, how=how, generates=generates),
    )


def _by(value: Value) -> Said:
    return value.method or value.asserted_by or value.source
