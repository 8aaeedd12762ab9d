"""Six everyday tasks with four tools: what somebody types for each, and what it costs where it can be run on one machine.

    python -m docs.measured.everyday FOLDER >docs/measured/everyday.json

FOLDER is made. Each task is a program of its own, in a fresh interpreter, with the lines that the tool's documentation has for it.
The training that is tracked is the same in all, 16 steps of a LoRA on the embedded base. Seconds are those of processors, of the
whole program with its imports; tasks of one tool build on those before. What needs an account is counted and not run. Needs the
packages of `make full` and `pip install wandb`; no network.
"""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from textwrap import dedent

TASKS = (
    "track a training script",
    "register the result",
    "load the approved version",
    "compare two versions",
    "merge two adapters",
    "find what was made from some data, and stop it",
)

# what is trained in every first task; {words} are arguments that a tool adds, {lines} its lines before the training
TRAINING = """\
import json
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments
from transformers import DataCollatorForLanguageModeling
tokenizer = AutoTokenizer.from_pretrained("base")
tokenizer.pad_token = tokenizer.eos_token
lora = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"])
model = get_peft_model(AutoModelForCausalLM.from_pretrained("base"), lora)
rows = [json.loads(line) for line in open("rows.jsonl")]
rows = Dataset.from_list([dict(tokenizer(row["prompt"] + row["completion"])) for row in rows])
arguments = TrainingArguments("out", max_steps=16, per_device_train_batch_size=8, logging_steps=1, seed={seed}, use_cpu=True,
    save_strategy="no", disable_tqdm=True, report_to="{report}")
trainer = Trainer(model, arguments, train_dataset=rows, data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False))
{lines}
trainer.train()
{after}
"""


@dataclass(frozen=True)
class Step:
    """A task with one tool: the lines that the user writes for it, and where they can be run.

    `lines` of the first two tasks stand in the training script, where `reports_to` is the word of an argument. `runs` is "here"
    where no other machine is needed, "account" where a service is, "page" where a page of the service shows it, "nowhere" where
    the tool does not do it.
    """

    lines: str = ""
    reports_to: str = "none"
    runs: str = "here"

    @property
    def count(self) -> int:
        """Lines that the user writes or changes."""
        return (
            len(dedent(self.lines).split("\n")) - dedent(self.lines).split("\n").count("") + (self.reports_to != "none")
        )

    @property
    def is_command(self) -> bool:
        return self.lines.startswith("registry ")


DATA = "sha256:DATA"  # what the command before prints of the data
PEFT_MERGE = """
from peft import PeftModel
from transformers import AutoModelForCausalLM
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("base"), "first", adapter_name="first")
model.load_adapter("second", adapter_name="second")
model.add_weighted_adapter(["first", "second"], [0.7, 0.3], "both", combination_type="cat")
model.set_adapter("both")
model.merge_and_unload().save_pretrained("merged")
"""

TOOLS: dict[str, tuple[Step, ...]] = {
    "this registry": (
        Step(
            'from peft_registry import RegistryCallback\ntrainer.add_callback(RegistryCallback(trainer, "polite", quiet=True))'
        ),
        Step(""),
        Step('import peft_registry\nmodel = peft_registry.load("polite@champion")'),
        Step("registry diff polite:1 polite:2"),
        Step("registry merge polite:1 polite:2 --weights 0.7,0.3 --name both"),
        Step(f"registry show polite:1\nregistry recall {DATA} --reason withdrawn --key keys/approver.key"),
    ),
    "MLflow + PEFT": (
        Step(reports_to="mlflow"),
        Step(
            """
            import mlflow
            parts = {"model": trainer.model, "tokenizer": tokenizer}
            words = {"task": "text-generation", "registered_model_name": "polite", "pip_requirements": ["peft"]}
            with mlflow.start_run(run_id=mlflow.last_active_run().info.run_id):
                mlflow.log_input(mlflow.data.from_huggingface(rows, name="rows"), context="training")
                mlflow.transformers.log_model(parts, name="model", **words)
            """,
        ),
        Step('import mlflow\nmodel = mlflow.transformers.load_model("models:/polite@champion")'),
        Step(
            """
            import mlflow
            client = mlflow.MlflowClient()
            for version in client.search_model_versions("name='polite'"):
                print(version.version, client.get_run(version.run_id).data.metrics)
            """
        ),
        Step(PEFT_MERGE),
        Step(
            """
            import mlflow
            client = mlflow.MlflowClient()
            for run in client.search_runs(["0"], "dataset.name = 'rows'"):
                print([version.version for version in client.search_model_versions(f"run_id='{run.info.run_id}'")])
            """
        ),
    ),
    "HF Hub": (
        Step('push_to_hub=True, hub_model_id="lab/polite"', runs="account"),
        Step("trainer.push_to_hub()", runs="account"),
        Step(
            "from peft import AutoPeftModelForCausalLM\n"
            'model = AutoPeftModelForCausalLM.from_pretrained("lab/polite", revision="champion")',
            runs="account",
        ),
        Step(runs="nowhere"),
        Step(PEFT_MERGE),
        Step(
            'from huggingface_hub import list_models\nprint([model.id for model in list_models(trained_dataset="lab/rows")])',
            runs="account",
        ),
    ),
    "W&B": (
        Step(reports_to="wandb"),
        Step(
            """
            import wandb
            trainer.save_model("saved")
            artifact = wandb.Artifact("polite", type="model")
            artifact.add_dir("saved")
            wandb.run.log_artifact(artifact)
            """
        ),
        Step(
            """
            import wandb
            from peft import AutoPeftModelForCausalLM
            folder = wandb.init(project="polite").use_artifact("polite:champion").download()
            model = AutoPeftModelForCausalLM.from_pretrained(folder)
            """,
            runs="account",
        ),
        Step(runs="page"),
        Step(PEFT_MERGE),
        Step(
            """
            import wandb
            data = wandb.Api().artifact("lab/polite/rows:latest")
            print([artifact.name for run in data.used_by() for artifact in run.logged_artifacts()])
            """,
            runs="account",
        ),
    ),
}
PACKAGES = {
    "this registry": ("peft-registry",),
    "MLflow + PEFT": ("mlflow", "peft"),
    "HF Hub": ("huggingface_hub", "peft"),
    "W&B": ("wandb", "peft"),
}
# between the second task and the third, by whoever approves; both are one line and are not counted
APPROVE = {
    "this registry": "registry promote polite:1 champion --policy none",
    "MLflow + PEFT": 'import mlflow\nmlflow.MlflowClient().set_registered_model_alias("polite", "champion", 1)',
}


def main(folder: Path) -> dict[str, object]:
    """Lines and seconds of each task with each tool."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    prepare(folder)
    plain = seconds_of(folder, training(Step(), Step(), seed=7))
    told = {}
    for tool, steps in TOOLS.items():
        versions = {}
        for package in PACKAGES[tool]:
            versions[package] = metadata.version(package)
        told[tool] = {"versions": versions, "tasks": measured(folder, tool, steps, plain)}
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
    return {"date": f"{datetime.now(UTC):%Y-%m-%d}", "processor": cpu, "plain_seconds": round(plain, 1), "tools": told}


def prepare(folder: Path) -> None:
    """The base, the rows, a registry with a key of an approver, and two adapters of a plain training."""
    from peft_registry.trainer.embedded import embedded_base, example_rows

    shutil.copytree(embedded_base(), folder / "base")
    shutil.copy(example_rows(), folder / "rows.jsonl")
    run(folder, "registry init --unencrypted --no-example")
    run(folder, "registry base add base --name tiny")
    run(folder, "registry keys create approver --person alex --unencrypted --out keys")
    run(folder, "registry trust add keys/approver.pub --person alex --role approver")
    for name, seed in (("first", 7), ("second", 8)):
        run(folder, training(Step(), Step(f'trainer.save_model("{name}")'), seed=seed))


def measured(folder: Path, tool: str, steps: tuple[Step, ...], plain: float) -> list[dict[str, object]]:
    """Each task in turn; tracking and registering are what they add to the plain training."""
    tracked, registered, *others = steps
    seconds: list[float | None] = [None, None]
    if tracked.runs == "here":
        both = seconds_of(folder, training(tracked, registered, seed=7))
        seconds = [both - plain, 0.0]
        if registered.lines:
            alone = seconds_of(folder, training(tracked, Step(), seed=7))
            seconds = [alone - plain, both - alone]
        run(folder, training(tracked, registered, seed=8))  # the second version
    if tool in APPROVE:
        run(folder, APPROVE[tool])
    for step in others:
        seconds.append(seconds_of(folder, step.lines) if step.runs == "here" else None)
    return [
        {"task": task, "lines": step.count, "runs": step.runs, "command": step.is_command, "seconds": _rounded(taken)}
        for task, step, taken in zip(TASKS, steps, seconds, strict=True)
    ]


def training(tracked: Step, registered: Step, *, seed: int) -> str:
    """The training script with the lines of a tool."""
    return TRAINING.format(
        seed=seed, report=tracked.reports_to, lines=dedent(tracked.lines), after=dedent(registered.lines)
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def seconds_of(folder: Path, program: str) -> float:
    """Processor seconds of a program, with those that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(folder, program)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run(folder: Path, program: str) -> None:
    """Run commands of ours, or lines of Python, in the folder; offline, on one thread.

    Raises:
        RuntimeError: one fails.
    """
    program = dedent(program).strip()
    if not program.startswith("registry "):
        answer([sys.executable, "-c", program], folder)
        return
    said = ""
    for line in program.splitlines():
        data = re.search(r"^data +.*(sha256:[0-9a-f]{64})", said, re.MULTILINE)
        words = (line.replace(DATA, data[1]) if data else line).split()[1:]
        said = answer([sys.executable, "-m", "peft_registry.cli.main", *words], folder)


def answer(words: list[str], folder: Path) -> str:
    """What a program prints."""
    offline = {
        "HF_HUB_OFFLINE": "1",
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    here = {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db", "OMP_NUM_THREADS": "1"}
    env = os.environ | offline | here
    # the tools of this environment, with our own words
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise RuntimeError(f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    sys.stderr.write(f"{words[-1].splitlines()[-1][:100]}\n")
    return done.stdout


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1])), indent=1) + "\n")
