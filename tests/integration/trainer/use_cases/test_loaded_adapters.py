"""Every type of adapter that peft writes: imported, verified, pulled, loaded, evaluated, gated, recalled; it answers as at home.

What is not possible with one is said of this program, and not of the adapter.
"""

import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.compliance.completeness import conditions_of
from peft_registry.registry.exports.vllm import serving_problems
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.records.stops import VersionStopped
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.signing.trust import render_chain
from peft_registry.registry.use_cases.gate import promote, read_gate_policy
from peft_registry.registry.use_cases.import_folder import ImportOutcome, import_folders
from peft_registry.registry.use_cases.import_plan import ImportRequest
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.recall import recall
from peft_registry.registry.use_cases.verify import verify_folder, verify_version
from peft_registry.schemas.methods import OF_PEFT_TYPE
from peft_registry.schemas.methods.loaded import NOT_LOADED
from peft_registry.schemas.version import Version
from peft_registry.trainer.embedded import embedded_base
from peft_registry.trainer.evaluation.arms import base_of
from peft_registry.trainer.merge.request import MergeRequest
from peft_registry.trainer.methods.peft_io import unloaded
from peft_registry.trainer.use_cases.add_base import intake_base
from peft_registry.trainer.use_cases.evaluate import EvaluationRequest, evaluate_references
from peft_registry.trainer.use_cases.load import load_version
from peft_registry.trainer.use_cases.merge import merge_and_register
from tests.builders.homes import NOW, a_home, reopened
from tests.builders.peft_kinds import KINDS, an_answer, the_base, written_by_peft
from tests.builders.signing import a_p256_key, a_trusted_key, one_more

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
APPROVER = a_p256_key(21)
OURS = {"BOTTLENECK"}  # not of peft: trained and imported with our module, `test_every_method.py`
FOLDED = {"LORA", "IA3", "TRAINABLE_TOKENS"}
NO_WEIGHTS = {  # peft has no merge for these
    *("ADAPTION_PROMPT", "CARTRIDGE", "CPT", "LILY", "P_TUNING", "PREFIX_TUNING", "PROMPT_TUNING", "SHADOW"),
}


# what `make test` runs: a few of each sort, shared tensors, whole modules, something in front of the text. What is trained here
# too is told in `test_every_method.py`
QUICK = ("VBLORA", "LN_TUNING", "P_TUNING", "ADAPTION_PROMPT", "TRAINABLE_TOKENS")


def marked(kinds: Iterable[str], quick: Iterable[str] = QUICK) -> list[Any]:
    return [pytest.param(kind, marks=() if kind in quick else pytest.mark.full) for kind in sorted(kinds)]


ALL = marked(KINDS)


class Made:
    """A home with the embedded base, and an adapter of each type that is asked for: written by peft, and imported."""

    def __init__(self, registry: Registry, folder: Path) -> None:
        self.registry = registry
        self._folder = folder
        self.answers: dict[str, Any] = {}
        self.outcomes: dict[str, ImportOutcome] = {}

    def imported(self, kind: str) -> ImportOutcome:
        if kind not in self.outcomes:
            folder = self._folder / kind.lower()
            self.answers[kind] = written_by_peft(folder, kind)
            (self.outcomes[kind],) = import_folders(self.registry, ImportRequest((folder,), base="tiny"))
        return self.outcomes[kind]

    def version(self, kind: str) -> Version:
        return self.imported(kind).version


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("kinds")
    with a_home(folder / "home") as registry:
        intake_base(registry, "embedded", name="tiny")
        approver = a_trusted_key(APPROVER, person="ada", role="approver", predicate_types=None)
        chain = one_more(registry.trust_chain, registry.private_key("root"), keys=(*registry.trust.keys, approver))
        (registry.folder / "trust.json").write_bytes(render_chain(chain))
    with closing(reopened(folder / "home", now=NOW)) as registry:
        yield Made(registry, folder)


def test_every_type_that_the_installed_peft_has_is_declared_or_said_why_not():
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    known = {peft_type.value for peft_type in PEFT_TYPE_TO_CONFIG_MAPPING} - OURS
    assert known <= set(KINDS) | set(NOT_LOADED)
    assert set(OF_PEFT_TYPE) - OURS == set(KINDS)


@pytest.mark.parametrize("kind", ALL)
def test_it_verifies_and_answers_with_its_producers_own_logits(made: Made, kind: str, tmp_path: Path) -> None:
    import torch

    version = made.version(kind)
    assert verify_version(made.registry, version).verdict == "verified"
    pull_version(made.registry, version, tmp_path / "by-its-card")
    assert verify_folder(tmp_path / "by-its-card", trust=made.registry.trust, now=NOW).verdict == "verified"
    assert not torch.equal(made.answers[kind], an_answer(the_base()))
    assert torch.equal(an_answer(loaded_by_its_card(tmp_path / "by-its-card")), made.answers[kind])
    ours = load_version(made.registry, version, tmp_path).model
    assert torch.equal(an_answer(ours), made.answers[kind])
    assert not any(parameter.requires_grad for parameter in ours.parameters())
    _, entered = base_of(ours, None)
    with entered():  # what an evaluation compares it with
        assert torch.equal(an_answer(ours), an_answer(the_base()))
    if OF_PEFT_TYPE[kind].parameter_marks.isdisjoint({"prompt_encoder"}):  # the next one finds the base as it was
        assert torch.equal(an_answer(unloaded(ours)), an_answer(the_base()))


def loaded_by_its_card(pulled: Path) -> Any:
    """What the code block of the card gives, run as it stands, its two folders filled in."""
    code = re.search(r"```python\n(.*?)```", (pulled / "README.md").read_text(), re.S)
    assert code is not None
    text = code[1].replace("FOLDER_OF_THE_BASE", str(embedded_base())).replace("FOLDER_OF_THIS_CARD", str(pulled))
    names: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(text, "card", "exec"), names)
    return names["model"]


@pytest.mark.parametrize("kind", ALL)
def test_its_record_calls_it_by_its_name_and_says_of_its_weights_what_peft_does_with_them(
    made: Made, kind: str
) -> None:
    record = made.imported(kind).modification
    assert record.method.kind.value == OF_PEFT_TYPE[kind].kind == kind.lower()
    assert "adapter" in conditions_of(record).met
    assert made.imported(kind).record.method == kind.lower()
    assert (OF_PEFT_TYPE[kind].no_weight is not None) == (kind in NO_WEIGHTS)
    said = f"{record.change.rel_norm_global.reason}".lower()
    assert "implemented" not in said and "merge" not in said


# BEFT trains biases, which this base has none of; two sums, a rotation and a product of tensors beside those that are quick
@pytest.mark.parametrize(
    "kind", marked(set(KINDS) - NO_WEIGHTS - {"BEFT"}, quick=(*QUICK, "LORA", "LOHA", "OFT", "IA3"))
)
def test_what_is_said_to_change_weights_is_merged_by_peft_to_the_same_answers(
    made: Made, kind: str, tmp_path: Path
) -> None:
    import torch

    model = load_version(made.registry, made.version(kind), tmp_path).model
    merged = an_answer(model.merge_and_unload())
    assert torch.allclose(merged, made.answers[kind], rtol=0, atol=1e-4 * float(made.answers[kind].abs().max()))


SOME_AND_ALL = [pytest.param(QUICK, id="some"), pytest.param(tuple(KINDS), marks=pytest.mark.full, id="all")]


@pytest.mark.parametrize("kinds", SOME_AND_ALL)
def test_they_are_evaluated_on_one_loaded_base_and_pass_a_policy(
    made: Made, kinds: tuple[str, ...], tmp_path: Path
) -> None:
    labels = [made.version(kind).label for kind in kinds]
    evaluated = evaluate_references(made.registry, labels, EvaluationRequest(suites=("house",), limit=4))
    assert len(evaluated) == len(kinds)
    policy = tmp_path / "any.yml"
    policy.write_text("name: any\nabout: an evaluation of these very bytes\nevaluation: {fresh: true}\n")
    for kind in kinds:
        version = version_named(made.registry, made.version(kind).label)
        assert records_of(made.registry, version).evaluation is not None
        promote(made.registry, version, "champion", read_gate_policy(str(policy)))
        assert verify_version(made.registry, version).verdict == "verified"


@pytest.mark.parametrize("kind", marked(set(KINDS) - FOLDED))
def test_a_merge_leaves_it_beside_the_base_and_says_why_of_this_program_or_of_its_kind(made: Made, kind: str) -> None:
    merged = merge_and_register(made.registry, MergeRequest((made.version(kind).label,)))
    assert merged.version is not None and merged.version.layout == "bundle"
    reason = merged.to_json()["why_bundled"]
    if kind in NO_WEIGHTS:
        assert reason.endswith(str(OF_PEFT_TYPE[kind].no_weight))
    else:
        assert f"merging {OF_PEFT_TYPE[kind].title} adapters is not implemented here" in reason


@pytest.mark.parametrize("kind", marked(set(KINDS) - {"LORA"}))
def test_what_vllm_does_not_serve_is_said_by_its_name(made: Made, kind: str) -> None:
    manifest = stored_manifest(made.registry, made.version(kind).manifest_digest)
    (problem,) = serving_problems("x:1", manifest, {"peft_type": kind}, ())
    assert problem.why == f"it is an adapter of the method {kind.lower()}, and vLLM adds adapters of LoRA alone"
    assert ("registry merge" in problem.fix) == (kind in FOLDED)


@pytest.mark.parametrize("kind", ALL)
def test_a_recalled_one_is_not_pulled_and_not_loaded(made: Made, kind: str, tmp_path: Path) -> None:
    version = made.version(kind)
    recalled = recall(made.registry, version.label, APPROVER, reason="a test of the recall")
    with pytest.raises(VersionStopped):
        load_version(made.registry, version, tmp_path)
    with pytest.raises(VersionStopped):
        pull_version(made.registry, version, tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()
    assert version.label in {touched.version for touched in recalled.touched}
