"""The files for clusters on the page about lists: they parse, agree with themselves, and type commands that exist."""

import re
import shlex
import subprocess
from typing import Any

import pytest
import yaml
from typer.main import get_command

from peft_registry.cli.main import app
from tests.processes.interpreter import ROOT

PAGE = (ROOT / "docs" / "how-to" / "work-on-a-list.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SCRIPTS = [text for language, text in BLOCKS if language == "bash"]
FILES = [text for language, text in BLOCKS if language == "yaml"]


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice, which YAML forbids and PyYAML does not."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]  # type: ignore[no-untyped-call]
        assert len(keys) == len(set(keys)), f"a key stands twice among {keys}"
        return super().construct_mapping(node, deep)


def loaded(key: str) -> Any:
    """The one file that has this key at its top."""
    (value,) = (value for value in (yaml.load(text, StrictLoader) for text in FILES) if key in value)
    return value


def options_of(line: str) -> dict[str, str | None]:
    """The options of a `registry verify` line, each of which the command knows."""
    words = shlex.split(line)
    assert words[:2] == ["registry", "verify"]
    known = {name for parameter in get_command(app).commands["verify"].params for name in parameter.opts}  # type: ignore[attr-defined]
    pairs = dict(zip(words[2::2], words[3::2], strict=True))
    assert set(pairs) <= known
    return dict(pairs)


def test_the_slurm_script_is_a_shell_script_that_slurm_reads() -> None:
    (script,) = SCRIPTS
    assert script.startswith("#!/bin/bash\n#SBATCH ")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    asked = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)$", script, re.MULTILINE))
    assert len(asked) == script.count("#SBATCH")
    assert set(asked) <= {"job-name", "array", "cpus-per-task", "mem", "time"}
    # without gaps, or the command could not tell which part is whose
    assert re.fullmatch(r"0-\d+", asked["array"])
    options = options_of(script.splitlines()[-1])
    assert options["--json-lines"] == "verified-$SLURM_ARRAY_TASK_ID.jsonl" and options["--list"]


def test_the_indexed_job_agrees_with_itself() -> None:
    job = loaded("apiVersion")
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec = job["spec"]
    assert set(spec) == {
        "completions", "parallelism", "completionMode", "backoffLimitPerIndex", "podFailurePolicy", "template"
    }  # fmt: skip
    assert spec["completionMode"] == "Indexed" and spec["parallelism"] <= spec["completions"]
    pod = spec["template"]["spec"]
    # a policy on failures asks for it
    assert pod["restartPolicy"] == "Never"
    (rule,) = spec["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailIndex" and spec["backoffLimitPerIndex"] >= 0
    assert rule["onExitCodes"] == {"operator": "In", "values": [5, 6]}
    (container,) = pod["containers"]
    assert container["command"] == ["/bin/sh", "-c"]
    (line,) = container["args"]
    subprocess.run(["sh", "-n"], input=line, text=True, check=True)
    options = options_of(line)
    assert options["--shard"] == f"/{spec['completions']}"
    assert "$JOB_COMPLETION_INDEX" in str(options["--json-lines"])
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounted) == {volume["name"] for volume in pod["volumes"]}
    assert container["env"] == [{"name": "REGISTRY_HOME", "value": mounted["home"]}]
    assert container["workingDir"] == mounted["work"]


def test_the_cluster_of_ray_has_a_head_that_its_workers_and_our_command_reach() -> None:
    cluster = loaded("cluster_name")
    assert set(cluster) == {
        "cluster_name", "max_workers", "provider", "auth", "setup_commands", "head_start_ray_commands",
        "worker_start_ray_commands",
    }  # fmt: skip
    assert cluster["provider"]["type"] == "local" and len(cluster["provider"]["worker_ips"]) <= cluster["max_workers"]
    head, worker = (cluster[f"{kind}_start_ray_commands"][-1] for kind in ("head", "worker"))
    ports = dict(re.findall(r"--([a-z-]+)=(\d+)", head))
    assert f"--address=$RAY_HEAD_IP:{ports['port']}" in worker
    assert f"ray://head:{ports['ray-client-server-port']}" in PAGE


@pytest.mark.full
def test_rays_own_schema_accepts_the_cluster() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(loaded("cluster_name")))  # as `ray up` does
