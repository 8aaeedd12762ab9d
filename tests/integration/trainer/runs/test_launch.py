"""torchrun as `registry train --nproc` starts it."""

from pathlib import Path

import pytest

from peft_registry.trainer.runs.launch import _torchrun


def test_torchrun_leaves_nothing_in_the_folder_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    job = tmp_path / "run" / "job" / "job.json"
    job.parent.mkdir(parents=True)
    job.write_text("no job")  # the worker ends as soon as it has read it
    with _torchrun(["--standalone", "--nproc-per-node=1"], job, 1, ()) as process:
        assert process.wait(120) != 0
    assert "job_file" in capfd.readouterr().err
    assert list(scratch.iterdir()) == []
