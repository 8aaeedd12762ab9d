"""What holds of listed versions today: their verdicts with what persons decided, the gates before their aliases, recalls.

The rows of the catalogue choose versions of which it may hold (`records/facets.py`). Here it is read from the log, the signed
records and the trust file, as `registry record verdict`, `registry gate status` and `registry show` read it. No file of a version
is read.
"""

from collections.abc import Iterable, Iterator, Sequence

from peft_registry.registry.compliance.answered_only import without_proposals
from peft_registry.registry.compliance.record_verdicts import verdicts_of
from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.signed_records import elsewhere, version_statements
from peft_registry.registry.records.stops import recalled_among
from peft_registry.schemas.facets import OF_TODAY, Words
from peft_registry.schemas.version import Version

FacetsToday = dict[str, tuple[str, ...]]
"""The words of each facet that was asked for; none where it has none."""


def facets_today(registry: Registry, versions: Sequence[Version], names: Iterable[str]) -> list[FacetsToday]:
    """Of each version the words of these facets of today, in the order of the versions, whose aliases are those of the log.

    Raises:
        IntegrityBroken: what is recorded of a version is not what was signed.
        ObjectMissing, ObjectCorrupt: the store lost the bytes of a policy that an alias is held against, or changed them.
    """
    asked = OF_TODAY.intersection(names)
    today: list[FacetsToday] = [{} for _ in versions]
    if not asked or not versions:
        return today
    # what many versions need of others is read once, and the log is proven once
    with registry.database.reading():
        if "verdict" in asked:
            # and numpy with it, which a list without such a facet needs for nothing
            from peft_registry.registry.records.decisions import decided_by
            from peft_registry.registry.use_cases.show_verdict import persons_decisions

            around = elsewhere(registry)
            for version, words in zip(versions, today, strict=True):
                said = version_statements(registry, version, around)
                if said.record is not None:
                    decided = decided_by(persons_decisions(registry, version, said))
                    both = verdicts_of(without_proposals(in_third_form(said.record.record)), decided=decided).both
                    words["verdict"] = tuple(sorted({verdict.status for verdict in both}))
        if "gate" in asked:
            for version, words in zip(versions, today, strict=True):
                words["gate"] = tuple(sorted(set(_gates(registry, version))))
        if "recalled" in asked:
            recalled = recalled_among(registry, (version.manifest_digest for version in versions))
            for version, words in zip(versions, today, strict=True):
                words["recalled"] = ("yes" if version.manifest_digest in recalled else "no",)
    return today


def meets_today(conditions: Iterable[Words], today: FacetsToday) -> bool:
    """Whether the words of today meet every condition about them."""
    return all(
        set(condition.words).isdisjoint(today.get(condition.facet, ())) == condition.excluded
        for condition in conditions
    )


def _gates(registry: Registry, version: Version) -> Iterator[str]:
    from peft_registry.registry.use_cases.gate import gate_by_records  # likewise

    for alias in version.aliases:
        gate = gate_by_records(registry, version, alias)
        if gate is None:
            yield "none"
        else:
            yield "open" if gate.decision.is_open else "closed"
