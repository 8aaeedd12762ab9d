"""A dossier that an earlier state of this program wrote is never broken: not by another table, page or edition."""

import tarfile
from pathlib import Path

import pytest

from peft_registry.registry.disk.files import read_file
from peft_registry.registry.signing.trust import TrustAnchors, current_policy, open_chain
from peft_registry.registry.use_cases.audit_folder import audit_folder
from peft_registry.registry.use_cases.read_folder import read_folder
from peft_registry.registry.use_cases.show_record import describe_record_in
from peft_registry.registry.use_cases.verify import Examiner
from peft_registry.schemas.policy import TrustPolicy
from tests.builders.homes import NOW

KEPT = Path(__file__).parent / "2026-12-01-dossier" / "handed-over.tar.gz"
LINES_OF_ITS_DAY = 60
"""As many were done again when it was written, and later releases do no less; documents and pages may not be possible any more."""


@pytest.fixture(scope="module")
def handed_over(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    with tarfile.open(KEPT) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def trust(handed_over: Path) -> TrustPolicy:
    data = read_file(handed_over / "trust.json", max_bytes=1 << 20)
    return current_policy(
        open_chain(data, anchors=TrustAnchors(file_given_by_user=True), accepted_version=None), now=NOW
    )


def test_a_kept_dossier_is_audited_and_nothing_of_it_differs(handed_over: Path, trust: TrustPolicy) -> None:
    audit = audit_folder(handed_over / "office", Examiner(trust, NOW))
    assert audit.verdict == "verified", audit.differing
    outcomes = {line.figure: line.outcome for line in audit.lines}
    assert len(audit.lines) >= LINES_OF_ITS_DAY
    # by what was signed, whatever else changes
    for figure in (
        "record",
        "signature of the documents",
        "compute of the modification, FLOP",
        "gate bank",
        "source tiny-1",
    ):
        assert outcomes[figure] == "reproduced", figure
    assert outcomes["evaluation of held-out, house, neutral"] == "reproduced"
    assert {outcome for figure, outcome in outcomes.items() if figure.startswith("digest of ")} == {"reproduced"}


def test_its_record_is_read_from_the_folder(handed_over: Path, trust: TrustPolicy) -> None:
    shown = describe_record_in(read_folder(handed_over / "office", Examiner(trust, NOW)).shown)
    assert (shown.version, shown.edition and shown.edition.name, shown.note) == ("sums:1", "2027-01", "")
    assert shown.record["use"]["intended"]["value"] == "sums of two numbers"
