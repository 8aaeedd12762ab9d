"""The indicative verdicts about a version, or about all of them, by the shipped rules or by others. Nothing is written."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path

from pydantic import ValidationError

from peft_registry.registry.compliance.answered_only import without_proposals
from peft_registry.registry.compliance.record_verdicts import (
    RecordVerdicts,
    Verdict,
    notice_of,
    verdicts_by_each,
    verdicts_of,
)
from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.registry.compliance.verdicts.rules import VerdictRules, shipped_rules
from peft_registry.registry.database import catalog
from peft_registry.registry.disk.files import read_offered
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.rare_collections import rare_collections
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.records.decisions import PersonsDecision, decided_by, decisions_of
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import (
    elsewhere,
    read_statements_ahead,
    required_record,
    version_statements,
)
from peft_registry.registry.records.version_statements import VersionStatements
from peft_registry.registry.reports.wording import status_reason
from peft_registry.registry.verification.presented_records import PresentedVersion
from peft_registry.registry.verification.signed_versions import signed_page, signed_version
from peft_registry.schemas.document import Frozen, first_problem
from peft_registry.schemas.errors import InputRefused, KnownError
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.values import Timestamp
from peft_registry.schemas.version import Version

MAX_BYTES = 1 << 20
_VERSIONS_AT_ONCE = 200
_READ_AHEAD = 40  # versions whose statements are read together: their texts are in memory at once


class VerdictRulesRefused(InputRefused):
    what = "{path} is not a set of rules for verdicts"
    why = "{reason}"
    fix = "begin with the shipped rules, `registry record verdict --print-rules >FILE`, and change thresholds or rows in them"

    path: Path
    reason: str


class VerdictShown(Frozen):
    """The verdicts about one version, from the record that holds."""

    version: str
    manifest: Digest
    record: str
    verdicts: RecordVerdicts
    set_aside: tuple[str, ...] = ()  # decisions that do not count, and why

    def lines(self) -> Iterator[tuple[str, str]]:
        """Label and text of each line, for people."""
        yield "version", self.version
        yield "record", self.record
        for verdict in self.verdicts.both:
            yield _LABELS[verdict.table], verdict.text
            yield from (("because", status_reason(reason)) for reason in verdict.reasons)
            yield from (("open", question) for question in verdict.open_questions)
            if verdict.applies_since is not None:
                yield "applies", verdict.applies_since
            if verdict.action is not None:
                yield "to do", verdict.action
            yield "inputs", str(verdict.inputs)
        yield from (("set aside", text) for text in self.set_aside)
        yield from (("beside it", flag.text) for flag in self.verdicts.flags)
        yield "notice", self.verdicts.notice


class VerdictChange(Frozen):
    """What other rules say of one version, where they say something else."""

    version: str
    manifest: Digest
    table: str
    now: str
    under: str


class Replay(Frozen):
    """All versions under other rules."""

    versions: int
    without_record: int
    changes: tuple[VerdictChange, ...]
    rules: str
    notice: str


_LABELS = {"gpai_modifier": "model", "high_risk": "system"}


def read_verdict_rules(path: Path) -> VerdictRules:
    """A set of rules from a file that a person offers.

    Raises:
        VerdictRulesRefused: a threshold or a row is missing, twice, without clause or source, or the file holds something else.
        MalformedInput: it is not JSON.
        OfferedFileRefused, FileMissing, FileUnreadable: as `read_offered`.
    """
    value = read_json(read_offered(path, max_bytes=MAX_BYTES), what=path.name, family="intake")
    try:
        rules = VerdictRules.model_validate(value)
    except ValidationError as error:
        raise VerdictRulesRefused(path, first_problem(error)) from error
    if rules.version == shipped_rules().version and rules != shipped_rules():
        raise VerdictRulesRefused(
            path, f"it is called {rules.version} as the shipped rules are, and says something else"
        )
    return rules


def describe_verdict(registry: Registry, reference: str, rules: VerdictRules | None = None) -> VerdictShown:
    """Both verdicts about the version that a reference means, by these rules or the shipped ones.

    Raises:
        MalformedReference, NotFound: as `version_named`.
        NoRecord: it has no modification record.
        IntegrityBroken: what is recorded is not what was signed.
    """
    version = signed_version(registry, version_named(registry, reference))
    said = version_statements(registry, version)
    return _verdict_shown(version, said, persons_decisions(registry, version, said), rules, today=registry.clock())


def describe_verdict_in(shown: PresentedVersion, rules: VerdictRules | None = None) -> VerdictShown:
    """The same of a version that a folder shows.

    Raises:
        RecordWithheld, NoRecord: its modification record is not here, or it has none.
    """
    shown.require_record()
    return _verdict_shown(shown.version, shown.said, shown.decisions, rules, today=shown.reading.now)


def _verdict_shown(
    version: Version,
    said: VersionStatements,
    decisions: tuple[PersonsDecision, ...],
    rules: VerdictRules | None,
    *,
    today: Timestamp,
) -> VerdictShown:
    record = without_proposals(in_third_form(required_record(said, version).record))
    return VerdictShown(
        version=version.label,
        manifest=version.manifest_digest,
        record=record.record_id,
        verdicts=verdicts_of(record, rules, decided_by(decisions), today=date.fromisoformat(today[:10])),
        set_aside=tuple(f"{decision.text}: {decision.objection}" for decision in decisions if decision.objection),
    )


def persons_decisions(registry: Registry, version: Version, said: VersionStatements) -> tuple[PersonsDecision, ...]:
    """What persons decided; its evidence is read only where somebody did."""
    has_decision = any(entry.kind == "decision" for entry in said.statements)
    return decisions_of(registry, version) if has_decision else ()


@rare_collections()
def replay(registry: Registry, rules: VerdictRules) -> Replay:
    """What these rules say otherwise than the shipped ones, of every version, by name and number.

    Raises:
        IntegrityBroken: what is recorded of a version is not what was signed.
    """
    changes: list[VerdictChange] = []
    versions = without_record = 0
    after: catalog.PageKey | None = None
    while True:
        # what many versions need of others is read once a page, and the log is proven once
        with registry.database.reading():
            page = signed_page(registry, after=after, limit=_VERSIONS_AT_ONCE)
            around = elsewhere(registry)
            for version in _with_statements_ahead(registry, page.versions):
                versions += 1
                said = version_statements(registry, version, around)
                if said.record is None:
                    without_record += 1
                else:
                    changes += _changes(registry, version, said, rules)
        after = page.next
        if after is None:
            break
    return Replay(
        versions=versions,
        without_record=without_record,
        changes=tuple(changes),
        rules=rules.version,
        notice=notice_of(rules),
    )


def _with_statements_ahead(registry: Registry, versions: Sequence[Version]) -> Iterator[Version]:
    """These versions, the statements about the next few of which are read together."""
    for number, version in enumerate(versions):
        if number % _READ_AHEAD == 0:
            some = versions[number : number + _READ_AHEAD]
            with suppress(KnownError):  # of which of them, its own reading says
                read_statements_ahead(registry, {other.manifest_digest for other in some})
        yield version


def _changes(
    registry: Registry, version: Version, said: VersionStatements, rules: VerdictRules
) -> Iterator[VerdictChange]:
    record = without_proposals(in_third_form(required_record(said, version).record))
    decided = decided_by(persons_decisions(registry, version, said))
    before, under = verdicts_by_each(record, (shipped_rules(), rules), decided)
    for now, then in zip(before, under, strict=True):
        if _says(now) != _says(then):
            yield _change(version, now, then)


def _says(verdict: Verdict) -> tuple[str, str | None, tuple[str, ...]]:
    return verdict.status, verdict.row, verdict.missing


def _change(version: Version, now: Verdict, under: Verdict) -> VerdictChange:
    return VerdictChange(
        version=version.label,
        manifest=version.manifest_digest,
        table=now.table,
        now=now.text,
        under=under.text,
    )
