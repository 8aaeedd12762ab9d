"""First records of which all follows, and whose inputs somebody chose: whoever holds the home's key signs other observations."""

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from peft_registry.registry.compliance.fields import leaves
from peft_registry.registry.compliance.superseding import with_values
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.bases import required_base
from peft_registry.registry.records.checkpoints import publish_checkpoint
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.new_entries import PendingRejected
from peft_registry.registry.records.record_histories import RecordContradicted, RecordUnreadable
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import StatementAltered, records_of, version_statements
from peft_registry.registry.use_cases.add_base import AddedBase
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.first_records import MadeResult, derive_record
from peft_registry.registry.use_cases.register import ModificationRecordWrong, register_version
from peft_registry.registry.use_cases.register_product import FinishedProduct, register_product
from peft_registry.registry.use_cases.statements import sign_statement
from peft_registry.registry.use_cases.supersede import supersede
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.base_model import DeclaredFacts
from peft_registry.schemas.evaluation import CODES_FROM
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import FileEntry, Parent
from peft_registry.schemas.modification import ModificationPredicate, RecordInput
from peft_registry.schemas.observations import Observations, ObservedAncestor, ObservedBase
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.values import Value, declared, measured
from peft_registry.schemas.version import Version
from tests.builders.backends import MadeHome
from tests.builders.evaluation import PLAN, a_recorded_evaluation, a_table
from tests.builders.homes import NOW, a_home, adapter_files, add_a_base, artifact_of, reopened
from tests.builders.made import (
    LONG_AGO,
    a_run_of,
    an_input,
    artifact_of_product,
    following,
    following_from,
    record_in,
    registered_base,
    with_record,
    with_statement,
)
from tests.builders.products import (
    a_product,
    artifact_registered_unasked,
    log_unasked,
    registered_unasked,
    sign_unasked,
)

MOST_SAID = 1000  # characters of what somebody is told
OPEN = DeclaredFacts(licence_flags=declared(["non_commercial"], by="legal", at=NOW))
PERSONAL = {"asserted_by": "alex, data steward", "data": {"*": {"personal_data": "yes"}}}


@dataclass
class Place:
    """A home with a base of which something was said later, and a version of it whose record was superseded since.

    `first` and `newest` are the statements that held what is recorded of the base, in their order; `plain` is the same base under
    another name.
    """

    folder: Path
    registry: Registry
    first: AddedBase
    newest: AddedBase
    plain: AddedBase
    said_later: int  # the entry of `newest`
    parent: Version

    def product(self, name: str = "new") -> FinishedProduct:
        """A training on the base, ready to be registered."""
        return a_product(self.registry, self.folder / name, self.newest, name=name, run_id=f"run of {name}", value=0.75)

    def continued(self, name: str = "more") -> FinishedProduct:
        """A training that goes on from the parent, ready to be registered."""
        folder = adapter_files(self.folder / name, value=0.25)
        alone = artifact_of(folder, self.newest, name=name).manifest
        start = Parent(role="start", manifest=self.parent.manifest_digest)
        manifest = alone.revised(parents=(*alone.parents, start))
        run = a_run_of(manifest, run_id=f"run of {name}", started_at=NOW, finished_at=NOW)
        result = MadeResult(
            name=name,
            record_id=f"run of {name}",
            manifest=manifest,
            production=run,
            base=an_input(self.newest),
            parents=(self.parent,),
        )
        made = derive_record(self.registry, result, key_id=self.registry.trainer_key.public.key_id)
        return FinishedProduct(
            name, "train", folder, manifest, run, made.observations, made.record, made.as_of, b"card\n"
        )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    with a_home(folder / "home", now="2026-11-24T11:00:00Z") as registry:
        add_a_base(registry, folder / "base", mode="copy")
        add_a_base(registry, folder / "base", mode="copy", name="plain")
        base = registered_base(registry, "tiny")
        register_product(
            registry, a_product(registry, folder / "sums", base, started_at=LONG_AGO, finished_at=LONG_AGO)
        )
        add_a_base(registry, folder / "base", mode="copy", facts=OPEN)
        supersede(registry, version_named(registry, "sums"), facts=PERSONAL)
    return folder / "home"


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Iterator[Place]:
    registry = MadeHome(made).copy(tmp_path / "home").opened(now=NOW)
    newest = registered_base(registry, "tiny")
    statements = version_statements(registry, newest.version).statements
    of_tiny = [
        stored for stored in statements if stored.kind == "base" and stored.statement.predicate["name"] == "tiny"
    ]
    assert of_tiny[0].digest != of_tiny[-1].digest == newest.statement
    assert of_tiny[-1].log_index is not None
    yield Place(
        tmp_path,
        registry,
        replace(newest, statement=of_tiny[0].digest),
        newest,
        registered_base(registry, "plain"),
        of_tiny[-1].log_index,
        version_named(registry, "sums"),
    )
    registry.close()


FILES = (FileEntry(path="another.bin", size=1, sha256=Digest.of(b"x")),)

Change = Callable[[Place, Observations], Observations]


def of_bases(change: Callable[[Place, ObservedBase], tuple[ObservedBase, ...]]) -> Change:
    return lambda place, seen: seen.revised(bases=change(place, seen.bases[0]))


OBSERVED: dict[str, tuple[Change, str]] = {
    "its base twice": (of_bases(lambda _, base: (base, base)), "inputs: they name another base"),
    "a teacher": (of_bases(lambda _, base: (base, base.revised(role="teacher"))), "inputs: they name another base"),
    "a part that was merged": (
        of_bases(lambda _, base: (base, base.revised(role="ingredient"))),
        "inputs: they name another base",
    ),
    "no base": (of_bases(lambda _, __: ()), "inputs: they name another base"),
    "a base that is not registered": (
        of_bases(lambda _, base: (base.revised(manifest=None),)),
        "inputs: they name another base",
    ),
    "an older word about its base": (
        of_bases(lambda place, base: (base.revised(statement=place.first.statement),)),
        "inputs: .* was not what held the record of tiny",
    ),
    "a word about its base that nobody logged": (
        of_bases(lambda _, base: (base.revised(statement=Digest.of(b"nothing")),)),
        "inputs: .* was not what held the record of tiny",
    ),
    "other files of its base": (
        of_bases(lambda _, base: (base.revised(files=FILES),)),
        "inputs: the files of tiny are others",
    ),
    "another key": (
        lambda _, seen: seen.revised(signing=seen.signing and seen.signing.revised(key_id="0" * 64)),
        "observations: another key signs",
    ),
    "another person": (
        lambda _, seen: seen.revised(signing=seen.signing and seen.signing.revised(person="the manager")),
        "observations: the key is said to be that of the manager",
    ),
    "nobody's key": (
        lambda _, seen: seen.revised(signing=seen.signing and seen.signing.revised(person=None)),
        "observations: the key is said to be that of None",
    ),
    "made in 1999": (
        lambda _, seen: seen.revised(made_at="1999-01-01T00:00:00Z"),
        "observations: 1999-01-01T00:00:00Z is before",
    ),
    "made tomorrow": (
        lambda _, seen: seen.revised(made_at="2099-01-01T00:00:00Z"),
        "observations: 2099-01-01T00:00:00Z is after",
    ),
    "another tool": (lambda _, seen: seen.revised(tool_version="99"), "observations: the tool was 99"),
    "an answer of the organisation as if it were measured": (
        lambda _, seen: seen.revised(
            profile=seen.profile and seen.profile.revised(legal_name=measured("Example Labs", method="looked at"))
        ),
        "observations: the profile states",
    ),
    "an answer of the organisation as if somebody had signed it": (
        lambda _, seen: seen.revised(
            profile=seen.profile
            and seen.profile.revised(
                legal_name=seen.profile.legal_name.revised(
                    value="Example Labs",
                    source="declared",
                    reason=None,
                    asserted_by="legal",
                    evidence=(Digest.of(b"x"),),
                )
            )
        ),
        "observations: the profile states",
    ),
    "something that did not go into it": (
        lambda place, seen: seen.revised(
            ancestors=(
                ObservedAncestor(
                    manifest=place.parent.manifest_digest, label=place.parent.label, is_parent=False, has_trained=True
                ),
            )
        ),
        "inputs: sums:1 is named, and did not go into it",
    ),
}


@pytest.mark.parametrize("attack", OBSERVED)
def test_what_was_not_so_is_not_observed(place: Place, attack: str) -> None:
    change, where = OBSERVED[attack]
    forged = following_from(place.registry, place.product(), lambda seen: change(place, seen))
    require_refused_at_every_door(place, forged, where)


NO_CODES = {
    "a text of one's choice": ("norm_method", "certified by the notified body", "norm_method"),
    "a code that there is not": (
        "norm_method",
        {"code": "certified_by_the_body"},
        "certified_by_the_body: there is no such code",
    ),
    "a code without its parameter": ("norm_unknown", {"code": "no_norm"}, "no_norm: the parameter because is missing"),
    "a code with a parameter of another kind": (
        "norm_method",
        {"code": "lost_to_rounding", "pct": "none"},
        "lost_to_rounding: the parameter pct is not a number",
    ),
}


@pytest.mark.parametrize("attack", NO_CODES)
def test_nothing_stands_where_a_code_does(place: Place, attack: str) -> None:
    name, text, where = NO_CODES[attack]
    product = place.product()
    seen = product.observations
    forged = replace(product, observations=seen.revised(change={**(seen.change or {}), name: text}))
    require_refused_at_every_door(place, forged, where)


def require_refused_at_every_door(place: Place, forged: FinishedProduct, where: str) -> None:
    """It does not enter, it is not signed over, and every check names it once whoever holds the home's keys has done both."""
    registry = place.registry
    with pytest.raises(ModificationRecordWrong, match=where) as refused:
        register_product(registry, forged)
    assert refused.value.exit_code == 2
    with pytest.raises(PendingRejected, match=where):
        registered_unasked(registry, forged, sign=publish_checkpoint)
    sign_unasked(registry)
    version = version_named(registry, forged.name)
    with pytest.raises(RecordContradicted, match=where):
        records_of(registry, version)
    outcome = verify_version(registry, version)
    assert outcome.exit_code == 6
    assert any(re.search(where, line) for check in outcome.checks for line in check.detail)
    assert any(re.search(where, wrong.text) for wrong in check_log(registry).contradictions)


@pytest.mark.parametrize("reference", ["tiny", "tiny:1", "tiny@champion", "the digest of its manifest"])
def test_a_training_was_made_on_the_base_that_its_file_names(place: Place, reference: str) -> None:
    """Equal bytes under another name have facts of their own; a digest means the name that was registered first."""
    product = place.product()
    run = product.production
    assert isinstance(run, RunRecord)
    asked = str(place.newest.version.manifest_digest) if reference.startswith("the digest") else reference
    run = run.revised(config=run.config | {"base": asked})
    honest = following_from(place.registry, product, lambda seen: seen, production=run)

    def on_the_other(seen: Observations) -> Observations:
        (base,) = seen.bases
        return seen.revised(bases=(base.revised(name="plain", statement=place.plain.statement),))

    forged = following_from(place.registry, honest, on_the_other)
    with pytest.raises(ModificationRecordWrong, match="inputs: the run was made on tiny, and they name plain"):
        register_product(place.registry, forged)
    register_product(place.registry, honest)


def ancestors(change: Callable[[Place, ObservedAncestor], ObservedAncestor | None]) -> Change:
    def changed(place: Place, seen: Observations) -> Observations:
        (parent,) = seen.ancestors
        other = change(place, parent)
        return seen.revised(ancestors=() if other is None else (other,))

    return changed


ANCESTORS: dict[str, tuple[Change, str]] = {
    "none": (ancestors(lambda _, __: None), "inputs: .* went into it, and is left out"),
    "no record of it": (
        ancestors(lambda _, parent: parent.revised(record=None, earlier_records=())),
        "inputs: the record of sums:1 stood otherwise",
    ),
    "its first record": (
        ancestors(lambda _, parent: parent.revised(record=parent.earlier_records[0], earlier_records=())),
        "inputs: the record of sums:1 stood otherwise",
    ),
    "its newest record as its first": (
        ancestors(lambda _, parent: parent.revised(earlier_records=())),
        "inputs: the record of sums:1 stood otherwise",
    ),
    "no run": (
        ancestors(lambda _, parent: parent.revised(made=None)),
        "inputs: how sums:1 was made says another statement",
    ),
    "a run that nobody logged": (
        ancestors(lambda _, parent: parent.revised(made=Digest.of(b"nothing"))),
        "inputs: how sums:1 was made says another statement",
    ),
    "something that was not trained": (
        ancestors(lambda _, parent: parent.revised(has_trained=False)),
        "inputs: whether sums:1 was trained is said otherwise",
    ),
    "no trainings": (
        ancestors(lambda _, parent: parent.revised(runs=())),
        "inputs: the trainings that went into sums:1 are others",
    ),
    "no parent": (ancestors(lambda _, parent: parent.revised(is_parent=False)), "inputs: sums:1 is called a parent"),
    "another name": (
        ancestors(lambda _, parent: parent.revised(label="clean:1")),
        "inputs: nothing is registered as clean:1",
    ),
}


@pytest.mark.parametrize("attack", ANCESTORS)
def test_what_went_in_is_not_chosen(place: Place, attack: str) -> None:
    change, where = ANCESTORS[attack]
    forged = following_from(place.registry, place.continued(), lambda seen: change(place, seen))
    require_refused_at_every_door(place, forged, where)


def test_a_flag_of_a_parent_is_in_the_record_of_what_goes_on_from_it(place: Place) -> None:
    """What the attacks above would lose."""
    product = place.continued()
    (used,) = product.modification.data
    assert used.personal_data.value == "yes"
    assert product.modification.base[0].licence_flags.value == ["non_commercial"]
    version = register_product(place.registry, product).version
    assert verify_version(place.registry, version).exit_code == 0


@pytest.mark.parametrize("attack", ["an older word about its base", "its first record"])
def test_the_log_is_not_looked_at_as_it_was_before_the_version_was_begun(place: Place, attack: str) -> None:
    """`as_of` says how much of the log counts: whoever sets it back would leave out whatever was said meanwhile."""
    change, _ = OBSERVED[attack] if attack in OBSERVED else ANCESTORS[attack]
    product = place.product() if attack in OBSERVED else place.continued()
    run = product.production.revised(started_at=NOW, finished_at=NOW)
    product = following_from(place.registry, product, lambda seen: seen, production=run)
    for as_of in (0, place.said_later):
        forged = following_from(place.registry, product, lambda seen: change(place, seen), as_of=as_of)
        with pytest.raises(ModificationRecordWrong, match="before its version was begun, and is left out"):
            register_product(place.registry, forged)
    require_refused_at_every_door(place, forged, "before its version was begun, and is left out")


def test_a_record_follows_from_no_log_that_there_is_not_yet(place: Place) -> None:
    """Whatever is said next would make its artifact broken for everybody."""
    later = replace(place.product(), as_of=10**9)
    require_refused_at_every_door(place, later, "as_of: ")


def test_a_record_of_a_parent_that_decides_nothing_is_not_what_a_child_follows_from(place: Place) -> None:
    """A thief of the trainer's key logs a record of the parent that its inputs do not give, and names it in a child's."""
    registry, parent = place.registry, place.parent
    stated = following(registry, parent)
    (used,) = stated.record.data
    clean = stated.revised(
        record=stated.record.revised(data=(used.revised(personal_data=declared("no", by="alex", at=NOW)),))
    )
    statement = log_unasked(
        registry, parent.manifest_digest, "modification", clean.to_json(), signer=registry.trainer_key, at=NOW
    )
    honest = place.continued()
    (seen,) = honest.observations.ancestors
    assert statement not in (seen.record, *seen.earlier_records)
    assert seen.record is not None
    records = (*seen.earlier_records, seen.record)

    def with_the_clean_one(observed: Observations) -> Observations:
        return observed.revised(ancestors=(seen.revised(record=statement, earlier_records=records),))

    forged = following_from(registry, replace(honest, name="forged"), with_the_clean_one)
    forged = following_from(registry, forged, lambda observed: observed.revised(name="forged"))
    require_refused_at_every_door(place, forged, "inputs: the record of sums:1 stood otherwise")
    register_product(registry, honest)


INPUTS: dict[str, Callable[[tuple[RecordInput, ...]], tuple[RecordInput, ...]]] = {
    "the run left out": lambda inputs: tuple(named for named in inputs if named.kind != "provenance"),
    "the evaluation left out": lambda inputs: tuple(named for named in inputs if named.kind != "bias-evaluation"),
    "the base left out": lambda inputs: tuple(named for named in inputs if named.kind != "base"),
    "observations of something else": lambda inputs: tuple(
        named.revised(about=Digest.of(b"x")) if named.kind == "observations" else named for named in inputs
    ),
    "something that nobody logged": lambda inputs: (
        *inputs,
        inputs[0].revised(kind="answers", digest=Digest.of(b"nothing")),
    ),
}


@pytest.mark.parametrize("attack", INPUTS)
def test_the_inputs_that_a_record_names_are_those_that_it_follows_from(place: Place, attack: str) -> None:
    artifact = artifact_of_product(place.product())
    stated = ModificationPredicate.from_json(record_in(artifact))
    forged = with_statement(artifact, stated.revised(inputs=INPUTS[attack](stated.inputs)).to_json())
    with pytest.raises(ModificationRecordWrong, match="inputs: "):
        register_version(place.registry, forged)
    with pytest.raises(PendingRejected, match="inputs: "):
        artifact_registered_unasked(place.registry, forged, sign=publish_checkpoint)
    sign_unasked(place.registry)
    version = version_named(place.registry, "new")
    assert verify_version(place.registry, version).exit_code == 6
    assert any("inputs: " in wrong.text for wrong in check_log(place.registry).contradictions)


def test_a_bad_evaluation_that_is_registered_with_a_version_is_in_its_record(place: Place) -> None:
    """It is signed, and the record follows from everything besides it."""
    product = place.product()
    artifact = artifact_of_product(product)
    without = replace(product, evaluations=())
    hidden = following_from(place.registry, without, lambda seen: seen)
    forged = with_statement(artifact, record_in(artifact_of_product(hidden)))
    with pytest.raises(ModificationRecordWrong, match=r"inputs: bias-evaluation .* is left out"):
        register_version(place.registry, forged)
    version = artifact_registered_unasked(place.registry, forged)
    outcome = verify_version(place.registry, version)
    assert outcome.exit_code == 6
    assert any("bias-evaluation" in line for check in outcome.checks for line in check.detail)


def test_an_evaluation_in_text_of_before_there_were_codes_is_no_input_of_a_record(place: Place) -> None:
    """Its texts are held as data: whoever signs one says with it what no figure gives."""
    in_text = a_recorded_evaluation(a_table(), replace(PLAN, figures=CODES_FROM - 1))
    product = a_product(
        place.registry, place.folder / "text", place.newest, name="new", run_id="run of new", evaluated=in_text
    )
    with pytest.raises(ModificationRecordWrong, match="edition 4, and 6 is the first"):
        register_product(place.registry, product)
    version = registered_unasked(place.registry, product)
    assert verify_version(place.registry, version).exit_code == 6
    assert any("behind the entry that announces" in wrong.text for wrong in check_log(place.registry).contradictions)


def test_nobody_chooses_the_rules_of_an_earlier_release_by_which_harm_has_a_milder_word(place: Place) -> None:
    earlier, _ = a_recorded_evaluation(a_table(), replace(PLAN, figures=CODES_FROM))
    with place.registry.database.write() as tx:
        signed = sign_statement(
            place.parent.manifest_digest, "bias-evaluation", earlier.to_json(), place.registry.trainer_key
        )
        record_statement(tx, place.parent.manifest_digest, signed, at=NOW)
    with pytest.raises(PendingRejected, match="edition 5, and 6 is the first"):
        publish_checkpoint(place.registry)
    sign_unasked(place.registry)
    assert any("edition 5, and 6 is the first" in wrong.text for wrong in check_log(place.registry).contradictions)


def test_two_records_of_equal_inputs_do_not_say_two_things(place: Place) -> None:
    product = place.product()
    one = artifact_of_product(product)
    other = with_record(
        one,
        lambda record: record.revised(
            compute=record.compute.revised(
                conservative_flop=record.compute.conservative_flop.revised(
                    value=record.compute.conservative_flop.value / 2
                )
            )
        ),
    )
    first, second = (ModificationPredicate.from_json(record_in(artifact)) for artifact in (one, other))
    assert first.inputs == second.inputs
    with pytest.raises(ModificationRecordWrong, match=r"compute\.conservative_flop: its inputs give"):
        register_version(place.registry, other)
    version = register_version(place.registry, one)
    assert verify_version(place.registry, version).exit_code == 0


def test_a_figure_within_the_bound_of_the_edition_is_the_same_figure(place: Place) -> None:
    """The last bit of a sum differs between machines; the next digit does not."""
    artifact = artifact_of_product(place.product())
    for factor, is_the_same in ((1 + 1e-12, True), (1 + 1e-6, False)):

        def scaled(record, factor=factor):  # type: ignore[no-untyped-def]
            flop = record.compute.conservative_flop
            return record.revised(
                compute=record.compute.revised(conservative_flop=flop.revised(value=flop.value * factor))
            )

        changed = with_record(artifact, scaled)
        if is_the_same:
            version = register_version(place.registry, changed)
            assert verify_version(place.registry, version).exit_code == 0
        else:
            changed = replace(changed, name="other")
            with pytest.raises(ModificationRecordWrong):
                register_version(place.registry, changed)


@pytest.mark.parametrize("key", ["method", "reason"])
def test_no_text_of_a_persons_stands_where_the_tool_says_how_or_why(place: Place, key: str) -> None:
    """A code, or the tool's own text from before it is one: whoever signs writes nothing in its place."""
    artifact = artifact_of_product(place.product())
    record = ModificationPredicate.from_json(record_in(artifact)).record
    paths = [leaf.path for leaf in leaves(record) if _is_of_tool(leaf.value, key)]
    assert len(paths) > 10
    for path in paths[::7]:
        leaf = next(leaf.value for leaf in leaves(record) if leaf.path == path)
        forged = with_record(
            artifact,
            lambda record, path=path, leaf=leaf: with_values(  # type: ignore[misc]
                record, {path: leaf.revised(**{key: "approved by the authority"})}
            ),
        )
        with pytest.raises(ModificationRecordWrong, match=re.escape(f"{path}: its inputs give")):
            register_version(place.registry, forged)


def _is_of_tool(value: Value, key: str) -> bool:
    return value.source in (("measured", "derived") if key == "method" else ("unknown",))


CODES = {
    "a parameter is missing": {"code": "answers_taken_up"},
    "a parameter is of another type": {"code": "answers_taken_up", "people": 7},
    "a parameter more": {"code": "not_answered", "by": "the authority"},
    "no such code": {"code": "approved_by_the_authority"},
    "a code that is none": {"code": 7},
    "a megabyte": {"code": "x" * 2**20},
}


@pytest.mark.parametrize("attack", CODES)
def test_a_code_is_one_of_the_edition_with_its_own_parameters(place: Place, attack: str) -> None:
    """One sentence, and nothing that stops a reader: not derived is refused, not a code at all is malformed."""
    artifact = artifact_of_product(place.product())
    predicate = record_in(artifact)
    open_field = predicate["record"]["identity"]["name_or_trademark_on_result"]
    assert open_field["source"] == "unknown"
    said = predicate | {
        "record": predicate["record"]
        | {
            "identity": predicate["record"]["identity"]
            | {"name_or_trademark_on_result": open_field | {"reason": CODES[attack]}}
        }
    }
    forged = with_statement(artifact, said)
    with pytest.raises(ModificationRecordWrong, match=r"name_or_trademark_on_result|malformed") as refused:
        register_version(place.registry, forged)
    assert refused.value.exit_code == 2
    assert len(f"{refused.value}") < 2000
    if attack == "a code that is none":
        return  # what is no record at all is not logged by anybody who can read it
    version = artifact_registered_unasked(place.registry, forged)
    outcome = verify_version(place.registry, version)
    assert outcome.exit_code == 6
    assert all(len(line) < 2000 for check in outcome.checks for line in check.detail)
    assert any("name_or_trademark_on_result" in wrong.text for wrong in check_log(place.registry).contradictions)


def test_what_is_said_of_a_base_is_not_exchanged_in_the_database(place: Place) -> None:
    """Its row gets the text of another statement, which the same key signed: nothing follows from either any more."""
    version = register_product(place.registry, place.product()).version
    home = MadeHome(place.registry.folder)
    with home.rows() as rows:
        older = rows.run(
            "SELECT envelope FROM statements WHERE digest = :digest", digest=str(place.first.statement)
        ).scalar_one()
        rows.run(
            "UPDATE statements SET envelope = :older WHERE digest = :digest",
            older=older,
            digest=str(place.newest.statement),
        )
    with closing(reopened(place.registry.folder)) as registry:
        with pytest.raises(StatementAltered):
            required_base(registry, place.newest.version)
        assert check_log(registry).exit_code == 6
        (statements,) = [check for check in verify_version(registry, version).checks if check.step == "statements"]
        # what follows from the base is compared with nothing, and says so; the base's own home names the row above
        assert any("not derived, because the record of the base tiny" in line for line in statements.detail)


@pytest.mark.parametrize("kind", ["observations", "provenance", "bias-evaluation", "modification"])
def test_a_statement_that_a_record_follows_from_is_not_exchanged_in_the_database(place: Place, kind: str) -> None:
    """By that of another version, which the same key signed."""
    version = register_product(place.registry, place.product()).version
    other = register_product(place.registry, another_product(place)).version
    home = MadeHome(place.registry.folder)
    with home.rows() as rows:
        envelopes = {
            subject: rows.run(
                "SELECT digest, envelope FROM statements WHERE kind = :kind AND subject = :subject",
                kind=kind,
                subject=str(subject),
            ).one()
            for subject in (version.manifest_digest, other.manifest_digest)
        }
        rows.run(
            "UPDATE statements SET envelope = :envelope WHERE digest = :digest",
            envelope=envelopes[other.manifest_digest][1],
            digest=envelopes[version.manifest_digest][0],
        )
    with closing(reopened(place.registry.folder)) as registry:
        assert verify_version(registry, version).exit_code == 6
        assert verify_version(registry, other).exit_code == 0
        with pytest.raises(StatementAltered):
            records_of(registry, version)
        assert check_log(registry).exit_code == 6


def another_product(place: Place) -> FinishedProduct:
    return a_product(
        place.registry, place.folder / "twin", place.newest, name="twin", run_id="run of twin", value=0.875
    )


MALFORMED: dict[str, tuple[dict[str, object], str]] = {
    "an edition that is a path": ({"edition": {"name": "../../etc/passwd"}}, "edition.name: "),
    "an edition of a megabyte": ({"edition": {"name": "2026-12" * 150_000}}, "edition.name: "),
    "an edition without a digest": ({"edition": {"digest": None}}, "edition.digest: "),
    "no inputs": ({"inputs": None}, "inputs: "),
    "a log of less than nothing": ({"as_of": -1}, "as_of: "),
    "a section that is none": ({"record": {"compute": "much"}}, "record.compute: "),
}


@pytest.mark.parametrize("attack", MALFORMED)
def test_a_record_that_is_none_is_told_in_one_sentence(place: Place, attack: str) -> None:
    said, where = MALFORMED[attack]
    artifact = artifact_of_product(place.product())
    predicate = dict(record_in(artifact))
    for key, value in said.items():
        predicate[key] = predicate[key] | value if isinstance(value, dict) else value
    forged = with_statement(artifact, predicate)
    with pytest.raises(ModificationRecordWrong, match=where) as refused:
        register_version(place.registry, forged)
    assert refused.value.exit_code == 2
    assert len(f"{refused.value}") < MOST_SAID
    with pytest.raises(PendingRejected, match=where) as pending:
        artifact_registered_unasked(place.registry, forged, sign=publish_checkpoint)
    assert len(f"{pending.value}") < MOST_SAID
    sign_unasked(place.registry)
    version = version_named(place.registry, "new")
    outcome = verify_version(place.registry, version)
    assert outcome.exit_code == 6
    lines = [line for check in outcome.checks for line in (check.text, *check.detail)]
    assert any(where in line for line in lines)
    assert all(len(line) < MOST_SAID for line in lines)
    with pytest.raises(RecordUnreadable):
        records_of(place.registry, version)
    report = check_log(place.registry)
    assert report.exit_code == 6
    assert any(where in wrong.text for wrong in report.contradictions)
    # another version is none the worse for it
    assert verify_version(place.registry, place.parent).exit_code == 0
    register_product(place.registry, another_product(place))
