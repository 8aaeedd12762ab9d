"""The set-up of every evaluation: suites by their pins and licences, kept scores, conditions, the announced plan, what is told.

`registry evaluate`, `registry merge --evaluate` and `registry train` compare other arms and ask the same way. What they share
is here once, so that a pin, a licence, a kept score or a device means the same in all three.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from peft_registry.registry.evaluation.halves import part_text, screens_of
from peft_registry.registry.evaluation.items import table_file
from peft_registry.registry.evaluation.leakage import leakage_lines
from peft_registry.registry.evaluation.power import UNTESTABLE, shown_by
from peft_registry.registry.evaluation.praise import ONE_TRY, Tries
from peft_registry.registry.evaluation.recheck import tries_of
from peft_registry.registry.evaluation.sentences import comparison_line
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.plans import earlier_evaluation
from peft_registry.registry.use_cases.plan_evaluation import log_plan
from peft_registry.schemas.evaluation import (
    CONTROL_ARMS,
    LIMITS,
    TEXTS,
    ArmName,
    Composition,
    EvaluationRecord,
    Part,
    Responsible,
)
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.progress import Observe, Said, Warned
from peft_registry.schemas.version import Version

if TYPE_CHECKING:  # torch is imported once something is scored
    from peft_registry.trainer.evaluation.arms import Keep
    from peft_registry.trainer.evaluation.questions import Request
    from peft_registry.trainer.evaluation.score_cache import FinishedScores
    from peft_registry.trainer.evaluation.scoring_plan import Announce, Announced, EvaluationConditions
    from peft_registry.trainer.evaluation.suites import LoadedSuite
    from peft_registry.trainer.evaluation.thresholds import ThresholdsFile
    from peft_registry.trainer.machine.environment import Hardware

SCORES = "scores"  # under the home
_ASKS_FOR_A_VERDICT = "; `registry evaluate NAME --suite {suite} --half test` does"


@dataclass(frozen=True, slots=True)
class EvaluationSetup:
    """What the evaluations of one command have in common.

    Attributes:
        registry: open and writable.
        key_id: of the key that will sign the records.
        role: of whoever holds it, in the records.
        reuse: whether scores that are known already are taken.
    """

    registry: Registry
    key_id: str
    role: Literal["evaluator", "trainer"]
    reuse: bool = True

    def conditions(
        self,
        hardware: "Hardware",
        suites: Sequence[str],
        *,
        seed: int = 0,
        thresholds: "ThresholdsFile | None" = None,
        name_table: Callable[[bytes], str] = table_file,
        tries: Tries = ONE_TRY,
    ) -> "EvaluationConditions":
        """Everything besides arms and questions that enters a record.

        Args:
            hardware: that the models are loaded on.
            suites: names of those that are asked, for the licences that were accepted.
            seed: of the selection.
            thresholds: that an organisation set, as read and checked.
            name_table: gives the item table its file name.
            tries: how many seeds of the same training were begun.
        """
        from peft_registry.trainer.evaluation.scoring_plan import EvaluationConditions
        from peft_registry.trainer.evaluation.thresholds import NO_THRESHOLDS

        thresholds = thresholds or NO_THRESHOLDS
        is_known = self.registry.trust.person_of(self.key_id) is not None
        return EvaluationConditions(
            created_at=self.registry.clock(),
            hardware=hardware,
            responsible=Responsible(name=self.key_id, role=self.role if is_known else None),
            seed=seed,
            thresholds=thresholds.bands,
            limits=thresholds.limits,
            policy_sha256=thresholds.digest,
            licences=self.licences(suites),
            file=name_table,
            tries=tries,
        )

    def licences(self, suites: Sequence[str]) -> Mapping[str, Mapping[str, str | None]]:
        """Which licences of the suites' data were accepted, by whose key and when."""
        from peft_registry.trainer.inputs.suites import accepted_licences

        return accepted_licences(self.registry, suites, key_id=self.key_id)

    def score_keeper(self, device: str) -> "Keep":
        """Where the scores of an arm are kept: by its composition, and by everything else that decides them."""
        from peft_registry.trainer.evaluation.score_cache import NOTHING, ScoreFile

        def keep(name: ArmName, composition: Composition) -> "FinishedScores":
            if not self.reuse:
                return NOTHING
            secret = self.registry.trainer_key.secret_for("urn:peft-registry:scores:v1")
            return ScoreFile(_score_file(self.registry, name, composition, device), secret)

        return keep

    def plan_announcer(self, version: Version, observe: Observe) -> "Announce":
        """Signs and logs a plan before anything is scored, where an organisation's thresholds decide something."""
        from peft_registry.trainer.evaluation.scoring_plan import Announced

        def announce(plan: dict[str, Any]) -> "Announced | None":  # the plan: any JSON object
            if plan["policy"] is None:
                return None
            stored = log_plan(self.registry, version, plan, policy=Digest.parse(plan["policy"]))
            asked = {name: suite.get("half") for name, suite in plan["suites"].items()}
            others = {name: Digest.parse(digest) for name, digest in plan.get(TEXTS, {}).items()}
            asked |= {limit["dataset"]: None for limit in plan.get(LIMITS, ()) if limit["dataset"] not in asked}
            earlier = earlier_evaluation(self.registry, version, asked, before=stored.log_index, digests=others)
            first = "" if earlier is None else f"; not the first: the same was evaluated in entry {earlier} of the log"
            observe(
                Said("plan", f"thresholds logged before scoring: {stored.digest.short}, log {stored.log_index}{first}")
            )
            return Announced(stored.digest, stored.log_index, stored.appended_at, earlier)

        return announce


def known_scores(registry: Registry, composition: Composition, device: str) -> "Callable[[ArmName, Request], bool]":
    """Whether a home has the answer of an arm to a request, so that it would not be asked again.

    Args:
        registry: whose scores.
        composition: of the arm.
        device: that it would be scored on.
    """
    from peft_registry.trainer.evaluation.score_cache import kept_in

    files = {name: kept_in(_score_file(registry, name, composition, device)) for name in ("base", *CONTROL_ARMS)}
    return lambda name, request: files[name](request)


def _score_file(registry: Registry, name: ArmName, composition: Composition, device: str) -> Path:
    """Where the scores of an arm are: of the same weights, scored by the same code and libraries, on such a device."""
    from peft_registry.trainer.evaluation.provenance import harness
    from peft_registry.trainer.evaluation.score_cache import score_key
    from peft_registry.trainer.machine.environment import library_versions

    libraries = " ".join(f"{library} {version}" for library, version in sorted(library_versions().items()))
    key = score_key(
        composition=str(composition.canonical_digest()),
        control=name if name in CONTROL_ARMS else "",
        source=harness()["source_digest"],
        libraries=libraries,
        device=device,
    )
    return registry.folder / SCORES / f"{key.hex}.jsonl"


def load_suites(
    registry: Registry,
    names: Sequence[str],
    *,
    data: Path | None = None,
    half: Part | None = None,
    limit: int | None = None,
    seed: int = 0,
    recorded: Mapping[str, Digest] | None = None,
) -> "tuple[LoadedSuite, ...]":
    """The suites as they are pinned or shipped, or from a file or folder that is given beside them.

    Args:
        registry: holds the pins.
        names: of suites.
        data: for the suites that take any; None: as pinned or shipped.
        half: of each suite, or its screen; None: the whole.
        limit: the maximum number of rows of each, drawn with `seed`; None: all.
        seed: of the draw.
        recorded: digests of the shipped versions that are wanted; None: the newest of each.

    Raises:
        UnknownSuite, SuiteFileNeeded, LicenceNotAccepted, OtherSuiteFile: as `load_suite`.
        DataWithoutUse: `data` is given, and no suite takes any.
        EmptyHalf: a suite has too few clusters to have that half.
    """
    from peft_registry.trainer.evaluation.suites.selection import limited, part_of
    from peft_registry.trainer.inputs.suites import load_suite, suites_for_data

    takers = frozenset[str]() if data is None else suites_for_data(registry, names)
    versions = recorded or {}
    loaded = [
        load_suite(registry, name, data if name in takers else None, recorded=versions.get(name)) for name in names
    ]
    return tuple(limited(part_of(suite, half), limit, seed=seed) for suite in loaded)


def report_power(suites: "Iterable[LoadedSuite]", observe: Observe) -> None:
    """Tell of each suite, before it is scored, what a comparison over it can show."""
    for suite in suites:
        used = suite.dataset
        part = part_text(used)
        name = used.name if part is None else f"{used.name}, {part}"
        for said in shown_by(used, list(suite.clusters.values())).values():
            if said.code in UNTESTABLE:
                observe(Warned("power", f"{name}: {said}"))
            else:
                verdict = _ASKS_FOR_A_VERDICT.format(suite=used.name) if said.code == "only_a_screen" else ""
                observe(Said("suite", f"{name}: {said}{verdict}"))


def report_comparisons(record: EvaluationRecord, lead: str, observe: Observe) -> None:
    """Tell each comparison over all categories in a line, and what was trained on or might have been.

    `lead` says of what, such as `helper:1, base → adapted: `.
    """
    from peft_registry.trainer.evaluation.suites import suites
    from peft_registry.trainer.evaluation.suites.published import unknown_file

    for line in leakage_lines(record.leakage_check):
        observe(Warned("leakage", str(line)))
    definitions = {name: suite.definition for name, suite in suites().items()}
    for used in record.datasets:
        own = unknown_file(definitions[used.name], used) if used.name in definitions else None
        if own is not None:
            observe(Warned("unknown-file", str(own)))
    screens = screens_of(record.datasets)
    for comparison in record.findings:
        if comparison.category is None:
            screen = f"; {screens[comparison.dataset]}" if comparison.dataset in screens else ""
            observe(Said("bias", f"{lead}{comparison_line(comparison)}{screen}"))
    tries = tries_of(record)
    if tries.seeds > 1 and record.findings:
        observe(Said("tries", f"{lead}{tries}; `better` is judged at a level for so many"))
    if tries.others and record.findings:
        observe(Said("tries", f"{lead}{tries.others_said}"))
