"""What is recalled, and everything that was made from it, is stopped at each door; a recall that is undone opens them again."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from peft_registry.cli.main import run
from peft_registry.registry.database.catalog.versions import VersionUnknown
from peft_registry.registry.database.tables import version_sources
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.where import read_query
from peft_registry.registry.mlflow.home_reader import HomeReader
from peft_registry.registry.records.checkpoints import publish_checkpoint
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.stops import StopsUnknown, VersionStopped, stops_above, with_stops
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.records.subjects import DigestUnknown, KeyWithoutLineage, subject_of_lineage
from peft_registry.registry.records.views import SaidDiffers, VersionsDiffer
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.signing.trust import KeyLacksRole, UnlistedKey
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.transparency.log import LogForked
from peft_registry.registry.use_cases import pull as pull_module
from peft_registry.registry.use_cases import pull_to_cache as pull_to_cache_module
from peft_registry.registry.use_cases.add_base import add_base
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.check_serving import check_for_vllm
from peft_registry.registry.use_cases.find import find_versions
from peft_registry.registry.use_cases.gate import ReadPolicy, promote, read_gate_policy
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.publish import publish_version
from peft_registry.registry.use_cases.pull import pull_version, pull_with_base
from peft_registry.registry.use_cases.pull_to_cache import pull_to_cache
from peft_registry.registry.use_cases.recall import AlreadyStopped, NotStopped, recall
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.show import describe_version
from peft_registry.registry.use_cases.show_impact import describe_impact
from peft_registry.registry.use_cases.show_moves import moves_of
from peft_registry.registry.use_cases.statements import PredicateMalformed, sign_statement
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.acts import RECALL
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.progress import Warned
from peft_registry.schemas.version import VerifyOutcome, Version
from tests.builders.backends import BACKENDS, MadeHome, make_on
from tests.builders.homes import CONFIG, NOW, add_a_base, an_artifact, base_files
from tests.builders.lineage import register_made_from, register_merge
from tests.builders.mirror import projection_of
from tests.builders.products import a_product, registered_before_editions
from tests.builders.records import a_bare_record
from tests.builders.signing import a_p256_key, a_trusted_key, one_more

APPROVER, OFFICER, STRANGER = a_p256_key(7), a_p256_key(8), a_p256_key(9)
WHY = "it holds the names of customers"


@dataclass
class Place:
    folder: Path
    home: MadeHome
    registry: Registry

    def version(self, reference: str) -> Version:
        return version_named(self.registry, reference)

    def no_rules(self) -> ReadPolicy:
        """A policy that asks what every policy asks."""
        file = self.folder / "plain.yml"
        file.write_text("name: plain\nabout: what every policy asks\n", "utf-8")
        return read_gate_policy(str(file))

    @property
    def data(self) -> Digest:
        """Of what `sums` was trained on."""
        return stored_manifest(self.registry, self.version("sums").manifest_digest).data[0].sha256

    @property
    def trainer(self) -> Digest:
        """Of the key that registered everything here."""
        return Digest(self.registry.trainer_key.public.key_id)

    def recall(
        self, reference: object, signer: PrivateKey = APPROVER, *, undo: bool = False, reason: str = WHY
    ) -> list[str]:
        """Recall, and return the versions that it touches."""
        done = recall(self.registry, str(reference), signer, reason=reason, undo=undo)
        return [version.version for version in done.touched]


def fill(registry: Registry, folder: Path) -> None:
    """sums was trained on data; more went on from it; product was merged from more; other has nothing to do with them."""
    base = add_a_base(registry, folder / "base")
    register_product(registry, a_product(registry, folder / "sums", base, name="sums"))
    sums = version_named(registry, "sums")
    more = register_made_from(registry, folder / "more", base, [sums], name="more", value=0.25)
    register_merge(registry, folder / "product", base, [more], name="product", value=0.75)
    register_made_from(registry, folder / "other", base, [], name="other", value=0.125)
    keys = (
        a_trusted_key(APPROVER, person="alex", role="approver", predicate_types=None),
        a_trusted_key(OFFICER, person="sam", role="officer", predicate_types=None),
    )
    chain = one_more(registry.trust_chain, registry.private_key("root"), keys=(*registry.trust.keys, *keys))
    (registry.folder / "trust.json").write_bytes(render_chain(chain))


@pytest.fixture(scope="module", params=BACKENDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill)


@pytest.fixture
def place(made: MadeHome, tmp_path: Path) -> Iterator[Place]:
    home = made.copy(tmp_path / "home")
    place = Place(tmp_path, home, home.opened(now=NOW))
    yield place
    place.registry.close()  # a test may have opened it anew


DOORS: dict[str, Callable[[Place, Version], object]] = {
    "a check for vLLM": lambda place, version: check_for_vllm(place.registry, version),
    "pull": lambda place, version: pull_version(place.registry, version, place.folder / "pulled"),
    "pull --with-base": lambda place, version: pull_with_base(place.registry, version, place.folder / "pulled"),
    "pull --cache": lambda place, version: pull_to_cache(place.registry, version, place.folder / "cache"),
    "promote": lambda place, version: set_alias(place.registry, version, "champion"),
    "export --as hub": lambda place, version: publish_version(place.registry, version, "org/name", dry_run=True),
    "MLflow": lambda place, version: HomeReader(place.registry).verify(version.manifest_digest),
}


@pytest.mark.parametrize("door", DOORS)
def test_the_merged_grandchild_of_recalled_data_is_refused_at_every_door_and_let_through_again(
    place: Place, door: str
) -> None:
    assert place.recall(place.data) == ["more:1", "product:1", "sums:1"]
    size = check_log(place.registry).size
    with pytest.raises(VersionStopped) as refused:
        DOORS[door](place, place.version("product"))
    error = refused.value
    assert "the data" in error.what and place.data.short in error.what
    assert error.why == f"alex recalled it at {NOW}: {WHY}"
    assert not (place.folder / "pulled").exists() and check_log(place.registry).size == size
    assert next(stops_above(place.registry, (RECALL,), place.version("other").manifest_digest), None) is None
    place.recall(place.data, undo=True, reason="the names were invented")
    assert next(stops_above(place.registry, (RECALL,), place.version("product").manifest_digest), None) is None


def test_impact_lists_what_something_went_into_and_the_aliases_that_point_there(place: Place) -> None:
    set_alias(place.registry, place.version("product"), "champion")
    of_data = describe_impact(place.registry, str(place.data), limit=2)
    assert [version.version for version in of_data.versions] == ["more:1", "product:1"]
    assert (of_data.count, of_data.rest, of_data.aliases, of_data.recall) == (3, 1, ("product@champion",), None)
    base = place.version("tiny")
    for reference in ("tiny", str(base.manifest_digest)):
        of_base = describe_impact(place.registry, reference, limit=4)
        assert (of_base.count, len(of_base.versions), of_base.rest) == (4, 4, 0)
        assert "tiny:1" not in [version.version for version in of_base.versions]
    assert describe_impact(place.registry, str(base.weights_digest), limit=10).count == 5  # the base has them
    of_itself = describe_impact(place.registry, "product", limit=1)
    assert (of_itself.count, of_itself.versions, of_itself.aliases) == (0, (), ("product@champion",))
    assert ("versions", "0 made from it") in of_itself.lines()
    place.recall(place.data)
    assert WHY in str(describe_impact(place.registry, str(place.data), limit=2).recall)
    with pytest.raises(DigestUnknown):
        describe_impact(place.registry, str(Digest.of(b"nothing")), limit=2)


def test_who_names_data_by_its_file_is_told_that_its_digest_means_it(place: Place) -> None:
    with pytest.raises(VersionUnknown) as refused:
        describe_impact(place.registry, "withdrawn.jsonl", limit=2)
    assert "data, weights and keys are meant by their digests, which `registry show NAME`" in refused.value.fix
    with pytest.raises(VersionUnknown) as misspelt:
        describe_impact(place.registry, "prodct", limit=2)
    assert misspelt.value.fix == "did you mean `product`?"


def test_impact_counts_the_aliases_that_it_does_not_list(place: Place) -> None:
    for alias in ("champion", "candidate", "older"):
        set_alias(place.registry, place.version("product"), alias)
    impact = describe_impact(place.registry, str(place.data), limit=2)
    assert (impact.aliases, impact.alias_count) == (("product@candidate", "product@champion"), 3)
    text = [line for label, line in impact.lines() if label in ("aliases", "")]
    assert text[-2:] == [
        "and 1 more, counted from the catalogue's rows; --limit lists more",
        "product@candidate, product@champion and 1 more",
    ]


def test_a_version_that_only_a_row_says_was_made_from_data_ends_the_list(place: Place) -> None:
    with place.registry.database.write() as tx:
        tx.execute(insert(version_sources).values(source=place.data, name="other", number=1))
    with pytest.raises(VersionsDiffer, match="other:1 is found by the data"):
        describe_impact(place.registry, str(place.data), limit=9)
    assert describe_impact(place.registry, "more", limit=9).count == 1


def test_verify_still_works_and_everything_that_is_read_says_so(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.recall(place.data)
    version = place.version("product")
    assert verify_version(place.registry, version).verdict == "verified"
    home = str(place.registry.folder)
    assert run(["verify", "product", "--home", home]) == 0
    assert f"alex recalled it at {NOW}: {WHY}" in capsys.readouterr().err
    assert any(WHY in text for text in describe_version(place.registry, "product").recalls)
    assert f"Recalled, and not handed out: the data {a_name(place)}" in make_report(place.registry, version).decode()
    report = check_log(place.registry)
    assert (report.contradictions, report.unchecked) == ((), ())


def a_name(place: Place) -> str:
    return stored_manifest(place.registry, place.version("sums").manifest_digest).data[0].name


def tags_in_mlflow(place: Place, reference: str) -> dict[str, str]:
    """What MLflow is told of a version now."""
    return dict(projection_of(place.registry, place.version(reference)).version.tags)


def test_mlflow_shows_it_on_every_descendant_and_no_more_once_it_is_undone(place: Place) -> None:
    set_alias(place.registry, place.version("product"), "champion")
    assert tags_in_mlflow(place, "product")["registry.gate"] == "champion: no policy"
    place.recall(place.data)
    assert tags_in_mlflow(place, "product")["registry.recall"] == "recalled"
    assert "registry.recall" not in tags_in_mlflow(place, "other")
    place.recall(place.data, undo=True)
    assert "registry.recall" not in tags_in_mlflow(place, "product")


@pytest.mark.parametrize("subject", ["tiny", "weights", "sums", "more", "product"])
def test_a_base_its_weights_and_every_artifact_on_the_way_can_be_recalled(place: Place, subject: str) -> None:
    base = place.version("tiny")
    place.recall(base.weights_digest if subject == "weights" else subject)
    assert stops_above(place.registry, (RECALL,), place.version("product").manifest_digest).__next__().reason == WHY
    with pytest.raises(VersionStopped):
        pull_version(place.registry, place.version("product"), place.folder / "pulled")
    stopped = subject in ("tiny", "weights")
    found = next(stops_above(place.registry, (RECALL,), place.version("other").manifest_digest), None)
    assert (found is not None) is stopped


def register_alone(place: Place) -> None:
    """A version that names its base by its weights, as an earlier release took it in where its base was not registered."""
    base = add_a_base(place.registry, place.folder / "base")
    artifact = an_artifact(place.folder / "alone", base, name="alone", value=0.0625)
    assert artifact.manifest.base is not None
    reference = artifact.manifest.base.revised(manifest=None)
    alone = replace(
        artifact,
        manifest=artifact.manifest.revised(base=reference, parents=()),
        statements=tuple(said for said in artifact.statements if said.kind in ("modification", "card")),
    )
    registered_before_editions(place.registry, alone, a_bare_record(alone.manifest).revised(schema_version="2"))


def test_a_recalled_base_stops_what_names_it_by_its_weights_alone(place: Place) -> None:
    register_alone(place)
    assert "alone:1" in place.recall("tiny")
    for door in DOORS.values():
        with pytest.raises(VersionStopped, match="its base"):
            door(place, place.version("alone"))


@pytest.mark.parametrize("door", DOORS)
def test_no_row_of_a_recalled_base_is_needed_to_stop_what_names_it_by_its_weights(place: Place, door: str) -> None:
    """A row may be gone, or say that the base has other weights; a manifest that is gone may be that of the base."""
    register_alone(place)
    place.recall("tiny")
    tiny = place.version("tiny").manifest_digest
    with place.home.rows() as rows:
        rows.run("DELETE FROM versions WHERE manifest_digest = :manifest", manifest=str(tiny))
    with pytest.raises(VersionStopped, match="alone:1 must not be used: its base"):
        DOORS[door](place, place.version("alone"))
    place.registry.store.delete(tiny)
    found = next(stops_above(place.registry, (RECALL,), place.version("alone").manifest_digest))
    assert found.text.startswith(f"what may be its base ({tiny.short})")


def test_an_edited_entry_of_a_recall_hides_no_base_from_what_names_it_by_its_weights(place: Place) -> None:
    register_alone(place)
    place.recall("tiny")
    tiny = place.version("tiny").manifest_digest
    with place.home.rows() as rows:
        rows.run("DELETE FROM versions WHERE manifest_digest = :manifest", manifest=str(tiny))
        leaf = rows.run("SELECT leaf FROM log_events ORDER BY seq DESC").scalars().all()[1]
        other = bytes(leaf).replace(tiny.hex.encode(), place.data.hex.encode())
        assert other != leaf
        rows.run("UPDATE log_events SET leaf = :other WHERE leaf = :leaf", other=other, leaf=leaf)
    with pytest.raises(LogForked):
        pull_version(place.registry, place.version("alone"), place.folder / "pulled")


@pytest.mark.parametrize("door", DOORS)
def test_the_weights_of_a_result_are_recalled_with_what_has_them_and_what_came_of_it(place: Place, door: str) -> None:
    """`registry show` prints their digest beside that of the manifest."""
    weights = place.version("more").weights_digest
    assert place.recall(weights) == ["more:1", "product:1"]
    for reference, source in (("more", "the weights of more:1"), ("product", "the weights of its adapter")):
        with pytest.raises(VersionStopped) as refused:
            DOORS[door](place, place.version(reference))
        assert refused.value.source == source
    assert next(stops_above(place.registry, (RECALL,), place.version("sums").manifest_digest), None) is None
    place.recall(weights, undo=True)
    DOORS[door](place, place.version("more"))


@pytest.mark.parametrize(
    ("signer", "error"), [(OFFICER, KeyLacksRole), (STRANGER, UnlistedKey)], ids=["officer", "stranger"]
)
def test_a_key_without_the_role_recalls_nothing_and_lifts_nothing(
    place: Place, signer: PrivateKey, error: type
) -> None:
    size = check_log(place.registry).size
    with pytest.raises(error):
        place.recall(place.data, signer)
    assert check_log(place.registry).size == size
    place.recall(place.data)
    with pytest.raises(error):
        place.recall(place.data, signer, undo=True)
    assert next(stops_above(place.registry, (RECALL,), place.version("product").manifest_digest)).reason == WHY


def test_a_row_that_nobody_signed_recalls_nothing_and_lifts_nothing(place: Place) -> None:
    """Whoever writes the database adds a statement behind the checkpoint, under the approver's id."""
    digest = place.version("other").manifest_digest
    forged = sign_statement(digest, "recall", {"reason": WHY, "undone": False, "nonce": "0f"}, STRANGER)
    with place.registry.database.write() as tx:
        record_statement(tx, digest, replace(forged, key_id=APPROVER.public.key_id), at=NOW)
    assert next(stops_above(place.registry, (RECALL,), digest), None) is None


def test_a_pending_recall_stops_already_and_a_pending_undo_opens_nothing(place: Place) -> None:
    digest = place.version("product").manifest_digest

    def say(undone: bool) -> None:
        said = sign_statement(digest, "recall", {"reason": WHY, "undone": undone, "nonce": f"{undone}"}, APPROVER)
        with place.registry.database.write() as tx:
            record_statement(tx, digest, said, at=NOW)

    say(undone=False)
    assert next(stops_above(place.registry, (RECALL,), digest)).reason == WHY
    say(undone=True)
    assert next(stops_above(place.registry, (RECALL,), digest)).reason == WHY


def recall_words(place: Place, reference: object, *options: str) -> list[str]:
    """What an approver types who keeps a key in a file."""
    key, phrase = place.folder / "approver.key", place.folder / "phrase"
    APPROVER.save(key, b"pass phrase of alex")
    phrase.write_text("pass phrase of alex")
    phrase.chmod(0o600)
    signing = ["--key", f"{key}", "--key-passphrase-file", f"{phrase}", "--home", f"{place.registry.folder}"]
    return ["recall", f"{reference}", *options, *signing]


def test_undoing_one_recall_tells_what_still_stops_each_version(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # of a user who saw no other copy of this home
    place.recall("more", reason="it insults people")
    place.recall(place.data)
    done = recall(place.registry, str(place.data), APPROVER, reason="they agreed", undo=True)
    more = place.version("more").manifest_digest
    why = f"alex recalled it at {NOW}: it insults people"
    assert {version.version: version.still for version in done.touched} == {
        "more:1": (f"more:1 ({more.short}): {why}",),
        "product:1": (f"its adapter ({more.short}): {why}",),
        "sums:1": (),
    }
    assert not done.pending
    place.recall(place.data)
    assert run(recall_words(place, place.data, "--undo", "--reason", "once more")) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"reaches product:1 still recalled: its adapter ({more.short}): {why}" in told
    assert told.endswith("reaches sums:1")


def test_a_copy_with_the_weights_of_what_is_recalled_is_told_by_whoever_recalls_and_whoever_registers(
    place: Place,
) -> None:
    """A base with another configuration is another artifact, and a recall is of one digest."""

    def a_copy(folder: str, **settings: object) -> list[str]:
        files = base_files(place.folder / folder)
        (files / "config.json").write_text(json.dumps(CONFIG | settings), "utf-8")
        said: list[str] = []
        origin = BaseOrigin(format="huggingface", source=folder)

        def observe(seen: object) -> None:
            if isinstance(seen, Warned):
                said.append(seen.text)

        add_base(place.registry, files, name=folder, origin=origin, observe=observe)
        return said

    assert a_copy("before", rope_theta=1.0) == []
    done = recall(place.registry, "tiny", APPROVER, reason=WHY)
    assert done.same_weights == ("before:1",)
    (same_files,) = a_copy("again")
    assert (
        same_files.startswith("again:1 is not handed out, it is stopped by a recall: again:1 (") and WHY in same_files
    )
    (same_weights,) = a_copy("after", rope_theta=2.0)
    assert same_weights.startswith("after:1 has the weights of tiny:1, which is not handed out: ")
    assert f"`registry recall {done.weights} --reason TEXT --key FILE` stops whatever has these weights" in same_weights
    assert "after:1" in place.recall(done.weights)


def without_log_key(place: Place) -> Registry:
    """The home as an approver has it who does not hold the log key."""
    place.registry.close()
    (place.registry.folder / "keys" / "log.key").rename(place.folder / "log.key")
    place.registry = place.home.opened(now=NOW)
    return place.registry


def test_an_undoing_that_no_checkpoint_covers_is_told_and_whoever_recalls_meanwhile_is_not_overruled(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.recall("product")
    registry = without_log_key(place)
    digest = place.version("product").manifest_digest
    done = recall(registry, "product", APPROVER, reason="it was another", undo=True)
    assert done.pending and WHY in str(done.touched[0].still)
    recall(registry, "product", APPROVER, reason="it was this one")
    (place.folder / "log.key").rename(registry.folder / "keys" / "log.key")
    place.registry.close()
    place.registry = place.home.opened(now=NOW)
    publish_checkpoint(place.registry)
    (found,) = stops_above(place.registry, (RECALL,), digest)
    assert found.reason == "it was this one"
    with pytest.raises(AlreadyStopped):
        place.recall("product")


def test_who_recalls_without_the_log_key_is_told_that_the_recall_counts_already(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # of a user who saw no other copy of this home
    without_log_key(place)
    assert run(recall_words(place, "product", "--reason", WHY)) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "pending 1 entry, until the log is signed: `registry log sign`, where the log key is; a recall" in told
    assert run(["pull", "product", str(tmp_path / "pulled"), "--home", str(place.registry.folder)]) == 3


@pytest.mark.parametrize("door", ["pull", "pull --with-base", "pull --cache"])
def test_a_recall_while_a_version_is_copied_stops_the_copy(
    place: Place, door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copying and hashing a large model takes minutes."""
    module = pull_to_cache_module if door == "pull --cache" else pull_module
    verify = module.verify_folder

    def recalled_meanwhile(*arguments: Any, **named: Any) -> VerifyOutcome:
        outcome = verify(*arguments, **named)
        if (
            named["version"].name == "more"
            and next(stops_above(place.registry, (RECALL,), outcome.manifest_digest), None) is None
        ):
            place.recall("more")
        return outcome

    monkeypatch.setattr(module, "verify_folder", recalled_meanwhile)
    with pytest.raises(VersionStopped, match="more:1 must not be used"):
        DOORS[door](place, place.version("more"))
    assert not (place.folder / "pulled").exists()


def test_what_cannot_be_recalled_is_told_and_nothing_is_signed(place: Place) -> None:
    size = check_log(place.registry).size
    with pytest.raises(DigestUnknown):
        place.recall(Digest.of(b"nothing"))
    with pytest.raises(NotStopped):
        place.recall(place.data, undo=True)
    for reason in ("", "  ", "x" * 2001):
        with pytest.raises(PredicateMalformed):
            place.recall("product", reason=reason)
    assert check_log(place.registry).size == size
    place.recall("product")
    with pytest.raises(AlreadyStopped):
        place.recall("product")


def test_removing_the_row_of_a_recall_opens_no_door(place: Place) -> None:
    place.recall("product")
    digest = place.version("product").manifest_digest
    with place.home.rows() as rows:
        rows.run("DELETE FROM statements WHERE subject = :subject AND kind = 'recall'", subject=str(digest))
    with pytest.raises(SaidDiffers):
        pull_version(place.registry, place.version("product"), place.folder / "pulled")
    assert not (place.folder / "pulled").exists()


@pytest.mark.parametrize("door", DOORS)
def test_deleting_the_manifest_between_something_recalled_and_what_came_of_it_opens_no_door(
    place: Place, door: str
) -> None:
    """One file of the store, without a key and without a row: nobody can then tell what `more` was made from."""
    place.recall("sums")
    more = place.version("more").manifest_digest
    place.registry.store.delete(more)
    with pytest.raises(StopsUnknown) as refused:
        DOORS[door](place, place.version("product"))
    assert (refused.value.exit_code, refused.value.digest) == (5, more)
    assert not (place.folder / "pulled").exists()
    DOORS[door](place, place.version("other"))


def test_whoever_only_reads_is_told_that_a_recall_may_not_be_known(place: Place) -> None:
    promote(place.registry, place.version("product"), "champion", place.no_rules())
    place.recall(place.version("tiny").weights_digest)
    more = place.version("more").manifest_digest
    place.registry.store.delete(more)
    asked = find_versions(place.registry, read_query("alias=champion recalled=yes gate=closed"))
    assert [version.label for version in asked.versions] == ["product:1"]
    (move,) = moves_of(place.registry, "product")[1]
    assert move.notes == ("closed today by plain: 2 reasons",)  # the recall, and that others may be hidden
    base, unknown = describe_version(place.registry, "product").recalls
    assert WHY in base
    assert unknown.startswith("not known: ") and more.short in unknown
    outcome = with_stops(place.registry, verify_version(place.registry, place.version("product")))
    assert (outcome.verdict, outcome.recalls) == ("verified", (base, unknown))


def test_a_recalled_key_stops_what_it_registered_and_what_was_made_from_that(place: Place) -> None:
    everything = ["more:1", "other:1", "product:1", "sums:1", "tiny:1"]
    assert [
        version.version for version in describe_impact(place.registry, str(place.trainer), limit=9).versions
    ] == everything
    person = place.registry.trust.person_of(place.trainer.hex)
    assert place.recall(place.trainer, reason="the key was lent out") == everything
    with pytest.raises(VersionStopped) as refused:
        pull_version(place.registry, place.version("other"), place.folder / "pulled")
    assert f"the key of {person} ({place.trainer.short}) is recalled" in refused.value.what
    assert verify_version(place.registry, place.version("other")).verdict == "verified"
    size = check_log(place.registry).size
    with pytest.raises(VersionStopped):
        add_a_base(place.registry, place.folder / "new", name="new")
    assert check_log(place.registry).size == size
    place.recall(place.trainer, undo=True, reason="it was not")
    pull_version(place.registry, place.version("other"), place.folder / "pulled")


def test_a_row_that_names_another_key_hides_no_version_from_the_recall_of_its_own(place: Place) -> None:
    place.recall(place.trainer)
    digest = place.version("other").manifest_digest
    with place.home.rows() as rows:
        rows.run(
            "UPDATE statements SET key_id = :key WHERE subject = :subject",
            key=OFFICER.public.key_id,
            subject=str(digest),
        )
    with pytest.raises(VersionStopped):
        pull_version(place.registry, place.version("other"), place.folder / "pulled")


def test_a_key_that_nobody_lists_is_not_known_and_none_has_a_lineage(place: Place) -> None:
    with pytest.raises(KeyWithoutLineage):
        subject_of_lineage(place.registry, str(place.trainer))
    with pytest.raises(DigestUnknown):
        place.recall(Digest(STRANGER.public.key_id))


@pytest.mark.parametrize("kind", ["recall", "test-result"])
@pytest.mark.parametrize("door", DOORS)
def test_the_text_of_a_recall_that_was_exchanged_opens_no_door(place: Place, door: str, kind: str) -> None:
    """The row keeps the digest that was logged; what it holds, its undoing or another statement, nobody who may signed."""
    place.recall(place.data)
    said = {"reason": WHY, "undone": True, "nonce": "0f"} if kind == "recall" else {"result": "PASSED"}
    other = sign_statement(place.data, kind, said, STRANGER)  # type: ignore[arg-type]  # both are kinds
    with place.home.rows() as rows:
        rows.run("UPDATE statements SET envelope = :envelope WHERE kind = 'recall'", envelope=other.line)
    with pytest.raises(SaidDiffers):
        DOORS[door](place, place.version("product"))
