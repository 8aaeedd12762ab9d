"""`registry merge` and `diff` as a user types them: kill at any moment, JSON at the end, exit codes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders.homes import copied_workplace
from tests.e2e.commands import WarmCommand
from tests.e2e.test_kill import kill_when_it_says

TRAIN = ("train", "example/train.yml", "training.num_train_epochs=1", "evaluation.bias=[]", "--no-mirror")
MERGE = ("merge", "polite-replies", "--no-mirror")
MOMENTS = (
    "peft_registry.trainer.merge.folder.write_merged",
    "peft_registry.trainer.merge.figures.probes_of",
    "peft_registry.trainer.use_cases.merge.merge_card",
    "peft_registry.registry.use_cases.register._store_files",
    "peft_registry.registry.use_cases.register._write_rows",
)


@pytest.fixture(scope="module")
def with_adapter(warm: WarmCommand, empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base and one adapter. Tests that write get a copy of it."""
    folder = copied_workplace(empty_home, tmp_path_factory.mktemp("adapter") / "work")
    warm(*TRAIN, cwd=folder).ok()
    return folder


@pytest.fixture
def trained(with_adapter: Path, tmp_path: Path) -> Path:
    return copied_workplace(with_adapter, tmp_path / "work")


def test_a_merge_killed_at_any_moment_leaves_no_half_model_and_can_be_repeated(
    warm: WarmCommand, trained: Path, listed: Callable[[Path], list[str]]
) -> None:
    runs = trained / ".registry" / "runs"
    for point in MOMENTS:
        kill_when_it_says(warm, trained, "paused", *MERGE, pause=point)
        assert listed(trained) == ["polite-replies:1", "tiny:1"]
        assert len(list(runs.iterdir())) == 1, "each merge removes what the killed one before it left"
    assert "registered polite-replies-merged:1 " in warm(*MERGE, cwd=trained).ok().out
    assert list(runs.iterdir()) == []
    assert warm("verify", "polite-replies-merged", cwd=trained).code == 0


def test_the_json_ends_with_version_digest_figures_and_record_and_a_second_run_with_the_same(
    warm: WarmCommand, trained: Path
) -> None:
    plan = warm(*MERGE, "--plan", "-o", "json", cwd=trained).ok().value
    assert (plan["tensors_touched"], plan["tensors_total"], plan["conflicts"]) == (21, 30, [])
    first, second = (warm(*MERGE, "-o", "json", cwd=trained).ok().value for _ in range(2))
    assert first["version"] == second["version"] == "polite-replies-merged:1"
    assert first["manifest_digest"] == second["manifest_digest"]
    assert (first["registered_before"], second["registered_before"]) == (False, True)
    assert 0 <= first["fold_error"] <= first["fold_error_limit"]
    assert first["distance"] == first["fold_error"]
    shown = warm("show", "polite-replies-merged", "-o", "json", cwd=trained).ok().value
    assert "modification" in [one["kind"] for one in shown["statements"]]
    assert first["modification_record"].startswith("sha256:")
    found = warm("diff", "tiny", "polite-replies-merged", "-o", "json", cwd=trained).ok().value
    changed = [one for one in found["modules"] if one["difference_norm"]]
    assert len(changed) == 21
    assert all(0 < one["cosine"] < 1 and one["spectral_norm"] > 0 for one in changed)
    plan = warm(*MERGE, "--dtype", "bf16", "--plan", cwd=trained).ok()
    assert "next: registry merge polite-replies --dtype bf16" in plan.err
    text = warm("diff", "polite-replies", "polite-replies", cwd=trained).ok().out
    assert "configuration, data and evaluations are the same" in text


def test_an_evaluation_of_the_adapter_is_stale_for_the_merge_until_it_is_made_again(
    warm: WarmCommand, trained: Path
) -> None:
    def evaluations() -> int:
        shown = warm("show", "polite-replies-merged", "-o", "json", cwd=trained).ok().value
        return [one["kind"] for one in shown["statements"]].count("bias-evaluation")

    warm(*MERGE, cwd=trained).ok()
    assert evaluations() == 0
    warm("report", "polite-replies-merged", cwd=trained).ok()
    page = (trained / "polite-replies-merged-1-report.html").read_text()
    assert 'This model was not evaluated. <span class="name">polite-replies:1</span> was, before the merge' in page
    again = warm(*MERGE, "--evaluate", cwd=trained).ok().out
    assert "base → merged: house: flagged " in again
    assert "polite-replies:1 → merged: house: flagged " in again
    assert "already registered polite-replies-merged:1 " in again
    assert evaluations() == 2, "the base and the parent, each beside the merged model"
    assert warm("verify", "polite-replies-merged", cwd=trained).code == 0
    facts = warm("diff", "polite-replies", "polite-replies-merged", "-o", "json", cwd=trained).ok().value["facts"]
    house = {one["name"]: (one["first"], one["second"]) for one in facts if one["name"].startswith("house ")}
    for before, after in house.values():
        assert before == pytest.approx(after, abs=1e-4), "one model, merged and unmerged"


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("polite-replies", "polite-replies"), 2, "same-weights-twice"),
        (("tiny",), 2, "not-an-adapter"),
        (("polite-replies", "--dtype", "int4"), 2, "four-bit-merge-refused"),
        (("polite-replies", "--weights", "much"), 2, "merge-weights-refused"),
        (("polite-replies", "--algorithm", "magic"), 2, "unknown-algorithm"),
        (("nobody", "--algorithm", "magic"), 2, "unknown-algorithm"),
        (("nobody", "--algorithm", "dare", "--density", "nan"), 2, "merge-weights-refused"),
        (("nobody", "--density", "0.5"), 2, "merge-option-refused"),
        (("nobody",), 7, "version-unknown"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_refused_says_so_with_its_exit_code(
    arguments: tuple[str, ...], code: int, error: str, warm: WarmCommand, trained: Path
) -> None:
    done = warm("merge", *arguments, "-o", "json", cwd=trained)
    assert done.code == code
    assert f'"error": "{error}"' in done.err
