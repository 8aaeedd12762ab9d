"""Each folder `tests/compat/<release>/` holds a pulled artifact and the trust file of its registry. They verify ever after."""

from pathlib import Path

import pytest

from peft_registry.registry.disk.files import read_file
from peft_registry.registry.evaluation.recheck import recheck
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.records.provenance import run_of
from peft_registry.registry.signing.dsse import Envelope
from peft_registry.registry.signing.trust import TrustAnchors, current_policy, open_chain
from peft_registry.registry.use_cases.verify import verify_folder
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.modification import ModificationRecordV1, modification_in
from peft_registry.schemas.statement import Statement

HERE = Path(__file__).parent
RELEASES = sorted(path.name for path in HERE.iterdir() if (path / "trust.json").exists())
# a moment when every kept key was valid
THEN = "2026-11-25T12:00:00Z"


def test_at_least_one_release_is_kept() -> None:
    assert RELEASES


@pytest.mark.parametrize("release", RELEASES)
def test_an_artifact_of_every_release_verifies(release: str) -> None:
    data = read_file(HERE / release / "trust.json", max_bytes=1 << 20)
    trust = current_policy(
        open_chain(data, anchors=TrustAnchors(file_given_by_user=True), accepted_version=None), now=THEN
    )
    outcome = verify_folder(HERE / release / "artifact", trust=trust, now=THEN)
    assert outcome.verdict == "verified", outcome
    assert {check.status for check in outcome.checks} == {"ok", "recorded"}


@pytest.mark.parametrize("release", RELEASES)
def test_the_records_of_every_release_read_as_values_and_recheck(release: str) -> None:
    evidence = HERE / release / "artifact" / "evidence"
    kinds = set()
    for line in (evidence / "statements.intoto.jsonl").read_bytes().splitlines():
        payload = Envelope.parse(line).payload
        statement = Statement.from_json(read_json(payload, what="a kept statement"))
        kinds.add(statement.kind)
        if statement.kind == "provenance":
            run = run_of(statement.predicate)
            assert run is not None
            assert run.loss_after.value < run.loss_before.value
        elif statement.kind == "modification":
            record = modification_in(statement)
            assert type(record) is ModificationRecordV1
            assert statement.revised(predicate=record.to_json()).to_canonical() == payload
        elif statement.kind == "bias-evaluation":
            evaluation = EvaluationRecord.from_json(statement.predicate)
            assert recheck(evaluation, (evidence / evaluation.items.file).read_bytes()) == ()
    assert kinds >= {"provenance", "bias-evaluation", "modification", "card", "registration"}
