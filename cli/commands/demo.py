"""`registry demo`: the whole story on the embedded base, typed out command by command. A second run continues.

Everything is written under one folder. Each step is the command a user would type; nothing is simulated, and the refusal
of the tampered copy is the real exit code of `registry verify`.
"""

import hashlib
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from peft_registry.cli import console
from peft_registry.schemas.errors import RunFailed

Run = Callable[[list[str]], int]
NAME = "polite-replies"
MERGED = "polite-replies-merged"
QUESTION = "Customer: My kettle arrived late. Reply:"
TAMPERED = "adapter_model.safetensors"
APPROVERS = ("ada", "ben")
TWO_PEOPLE = """\
name: two-people
about: evaluated as it is, and approved by two people who did not make it
evaluation: {fresh: true}
approvals: {count: 2}
"""


class DemoFailed(RunFailed):
    what = "a step of the demo did not end as expected"
    why = "`{command}` ended with exit code {code} instead of {expected}"
    fix = "read its output above, then remove the demo's folder and run `registry demo` again"

    command: str
    code: int
    expected: int


def add_to(app: typer.Typer) -> None:
    """Enter `registry demo`."""
    app.command()(demo)


def demo(
    context: typer.Context,
    folder: Annotated[Path, typer.Option(help="Folder to write everything to.")] = Path("demo"),
    governance: Annotated[bool, typer.Option("--governance", help="Also decide, approve, promote and recall.")] = False,
) -> None:
    """Run the whole workflow on a small model. Train, ask, verify, tamper, merge, report."""
    # the program hands on what runs a command line: the demo types what a user would
    raise typer.Exit(run_demo(folder, context.obj, governance=governance))


def run_demo(folder: Path, run: Run, *, governance: bool = False) -> int:
    """Tell the story under `folder`; returns the exit code.

    Args:
        folder: created if needed.
        run: runs one command line and returns its exit code.
        governance: also show who decides, approves and recalls.

    Raises:
        DemoFailed: a command ended otherwise than told.
    """
    folder.mkdir(parents=True, exist_ok=True)
    home = folder / ".registry"
    story = _Story(folder, home, run)
    console.line(
        f"Everything is written to {folder}. The commands below run with --home {home}: add it when you type them.",
        indent=0,
    )
    _make_a_model(story, folder)
    if governance:
        _decide(story, folder)
        _hand_over(story, folder)
        _recall(story, folder)
    _what_next(folder, governance=governance)
    return 0


def _make_a_model(story: "_Story", folder: Path) -> None:
    """A model is trained, asked, verified, tampered with, merged and documented."""
    story.chapter("A registry and a base", "Keys, log, database and store in one folder; a base is known by its bytes.")
    is_made = (story.home / "registry.json").exists()
    story.once(is_made, "the registry is there already", "init", "--person", "demo", "--unencrypted")
    story.once(story.has("tiny"), "tiny is registered already", "base", "add", "embedded", "--name", "tiny")
    story.chapter("Fine-tuning", "Loss and bias are measured before and after, and the result is signed and logged.")
    config = str(folder / "example" / "train.yml")
    story.once(story.has(NAME), f"{NAME} is registered already", "train", config)
    story.chapter("What it learnt", "The version and its base answer the same question.")
    story.type("ask", NAME, QUESTION, "--against", "base")
    story.chapter("Tampering", "A verified copy is pulled, and one bit of one weight in another copy is flipped.")
    pulled = folder / "pulled"
    if not pulled.exists():
        story.type("pull", NAME, str(pulled))
    tampered = folder / "tampered"
    flip_one_bit(pulled, tampered)
    story.type("verify", str(tampered), expected=6)
    story.chapter(
        "A merge and its documents", "The adapter is merged into the base, and the error of that is measured."
    )
    story.once(story.has(MERGED), f"{MERGED} is registered already", "merge", NAME, "--name", MERGED)
    story.type("report", MERGED, "--out", str(_report_of_merged(folder)))


def _report_of_merged(folder: Path) -> Path:
    return folder / f"{MERGED}-1-report.html"


def _decide(story: "_Story", folder: Path) -> None:
    """Two people approve what a policy guards: it says no before, and yes afterwards."""
    story.chapter(
        "Decisions",
        "A person decides what no figure does, and a policy opens by the approvals of two people.",
    )
    measured = "kind=adapter metric[held-out.loss]<9"
    story.type("list", "--where", measured, "--columns", "version,method,metric[held-out.loss],verdict")
    policy = folder / "two-people.yml"
    policy.write_text(TWO_PEOPLE, "utf-8")
    is_served = story.has(f"{NAME}@served")
    for person in APPROVERS:
        keys = folder / "keys" / person
        made = (keys / "approver.key").exists()
        create = ("keys", "create", "approver", "--person", person, "--out", str(keys), "--unencrypted")
        story.once(made, f"{person} has a key already", *create)
        trust = ("trust", "add", str(keys / "approver.pub"), "--person", person, "--role", "approver")
        story.once(made, f"the key of {person} is listed already", *trust)
    ada = str(folder / "keys" / APPROVERS[0] / "approver.key")
    if not is_served:
        on = ("--on", "purpose", "--outcome", "no", "--policy", str(policy))
        story.type("decide", NAME, *on, "--reason", "it answers as before, in another tone", "--key", ada)
    story.type("record", "verdict", NAME)
    promote = ("promote", NAME, "served", "--policy", str(policy))
    if is_served:
        console.out("(two people approved it already: continuing)")
    else:
        story.type(*promote, expected=3)
        for person in APPROVERS:
            key = str(folder / "keys" / person / "approver.key")
            story.type("gate", "approve", NAME, "--policy", str(policy), "--reason", "read the report", "--key", key)
        story.type(*promote)
    story.type("gate", "status", f"{NAME}@served")


def _hand_over(story: "_Story", folder: Path) -> None:
    """Whoever builds on the version gets what is theirs, signed by the person who answers for it."""
    story.chapter(
        "Documents for others",
        "A provider who builds on the model gets the documents that the law gives them, and no other figure.",
    )
    customer = folder / "customer"
    key = folder / "keys" / APPROVERS[0] / "approver.key"
    report = ("report", NAME, str(customer), "--to", "downstream", "--key", str(key))
    story.once(customer.exists(), f"{customer.name} was handed over already", *report)


def _recall(story: "_Story", folder: Path) -> None:
    """Nothing that was made from withdrawn data is handed out until the recall is undone."""
    story.chapter(
        "A recall",
        "The data is withdrawn: no version that was made from it is handed out, the merged model included.",
    )
    data = hashlib.sha256((folder / "example" / "example.jsonl").read_bytes()).hexdigest()
    key = ("--key", str(folder / "keys" / APPROVERS[0] / "approver.key"))
    story.type("hold", f"sha256:{data}", "--reason", "a complaint is looked into", *key)
    story.type("recall", f"sha256:{data}", "--reason", "consent was withdrawn", *key)
    story.type("list", "--where", "recalled=yes", "--columns", "version,aliases,recalled")
    story.type("pull", MERGED, str(folder / "not-written"), expected=3)
    story.type("recall", f"sha256:{data}", "--undo", "--reason", "consent was given again", *key)
    story.type("release", f"sha256:{data}", "--reason", "the complaint is settled", *key)


def flip_one_bit(source: Path, copy: Path) -> None:
    """Copy a pulled artifact and flip the last bit of the last weight in it."""
    if copy.exists():
        shutil.rmtree(copy)
    shutil.copytree(source, copy)
    weights = copy / TAMPERED
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(data)


class _Story:
    """Prints each command before it runs it, and holds it to its expected exit code."""

    def __init__(self, folder: Path, home: Path, run: Run) -> None:
        self.folder = folder
        self.home = home
        self._run = run
        self.number = 0

    def chapter(self, title: str, text: str) -> None:
        self.number += 1
        console.out()
        console.line(f"{self.number}. {title}. {text}", indent=3)

    def once(self, done: bool, already: str, *arguments: str) -> None:
        """Type the command unless an earlier run did."""
        if done:
            console.out(f"({already}: continuing)")
        else:
            self.type(*arguments)

    def type(self, *arguments: str, expected: int = 0) -> None:
        command = shlex.join(("registry", *arguments))
        console.out(f"$ {command}")
        # the story tells what comes next itself, and the home of each command is said at its beginning
        with console.without_next_steps():
            code = self._run([*arguments, "--home", str(self.home)])
        if code != expected:
            raise DemoFailed(command, code, expected)
        if expected:
            console.out(f"(exit code {code}, as it should be)")

    def has(self, name: str) -> bool:
        from peft_registry.cli.wiring import opened
        from peft_registry.registry.database import catalog
        from peft_registry.registry.records.references import version_named
        from peft_registry.schemas.errors import NotFound

        with opened(self.home) as registry:
            try:
                version = version_named(registry, name)
            except NotFound:
                return False
            with registry.database.read() as tx:
                return bool(catalog.version_by_digest(tx, manifest_digest=version.manifest_digest))


def _what_next(folder: Path, *, governance: bool) -> None:
    home = folder / ".registry"
    lines = [
        (f"registry ui --home {home}", "runs, curves, versions and reports in MLflow"),
        (str(_report_of_merged(folder)), "the report: open it in any browser, offline"),
    ]
    if not governance:
        lines.append((f"registry demo --folder {folder} --governance", "decide, approve, promote and recall"))
    console.out()
    console.out("What to type next:")
    for command, what in lines:
        console.out(f"  {command}  # {what}")
