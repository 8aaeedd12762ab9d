"""What other tools state of one adapter and of one merge whose truth is known: each is run for real, on the same two folders.

    python -m docs.measured.rivals FOLDER >docs/measured/rivals.json

FOLDER is made; a second run uses what was trained there. Two adapters of the embedded base are trained for an epoch, registered
and merged, by our own commands; then each tool is run on what they left, once as it is and once after a change that its statement
should notice. Needs the packages of `make full`, and for the last four `pip install modelscan aisbom-cli dvc wandb`; no network.
What is kept is what each tool said, in its words, and whether it holds. A tool that fails is told, and is not in what is kept.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

EPOCHS = 1
STEPS = 4  # of the adapter that peft itself trains
WEIGHTS = "adapter_model.safetensors"

SAME = "same words"

Said = dict[str, Any]
"""A row of the kept file: the tool, what it was asked, what it said, what is so, and whether the two agree."""


def main(folder: Path) -> list[Said]:
    """Every statement of every tool."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "merged").exists():
        register_all(folder)
    for left in folder.glob("by-*"):
        shutil.rmtree(left)
    manifest = json.loads((folder / "tiny" / "manifest.json").read_text("utf-8"))
    rows: list[Said] = []
    for tool in TOOLS:
        try:
            said = list(tool(folder, manifest["weights_digest"]))
        except Exception as error:  # noqa: BLE001  whatever another project raises
            sys.stderr.write(f"{tool.__name__} failed: {error!r}\n")
            continue
        rows += said
        for statement in said:
            sys.stderr.write(f"{statement['tool']:<16} {statement['asked']}: {statement['said']}\n")
    return rows


def command(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A command of this environment, whatever it answers."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    offline = {"HF_HUB_OFFLINE": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "DVC_NO_ANALYTICS": "1", "NO_COLOR": "1"}
    environment = os.environ | {"PATH": path} | offline | (env or {})
    # the tools of this environment, with our own words
    return subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True, check=False)  # noqa: S603


def registry(*arguments: str, cwd: Path) -> str:
    done = command(sys.executable, "-m", "peft_registry.cli.main", *arguments, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def register_all(folder: Path) -> None:
    """Two adapters, their merge and their base, as our commands make them, pulled."""
    registry("init", "--unencrypted", cwd=folder)
    registry("base", "add", "embedded", "--name", "tiny", cwd=folder)
    for seed, name in ((7, "polite"), (8, "formal")):
        few = ("evaluation.bias=[]", "evaluation.quality=[loss]", f"training.num_train_epochs={EPOCHS}")
        registry("train", "example/train.yml", f"name={name}", f"training.seed={seed}", *few, cwd=folder)
    registry("merge", "polite:1", "formal:1", "--weights", "0.7,0.3", "--name", "merged", cwd=folder)
    for name in ("tiny", "polite", "formal", "merged"):
        registry("pull", name, name, cwd=folder)


def copied(folder: Path, name: str, to: str) -> Path:
    """A copy without what we wrote beside the files: what another tool would be handed."""
    ours = shutil.ignore_patterns("manifest.json", "model.sig", "evidence", "README.md")
    return Path(shutil.copytree(folder / name, folder / to, ignore=ours))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def turn_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def row(tool: str, package: str, asked: str, said: str, truth: str, *, holds: bool | str | None) -> Said:
    """`holds` is None where the tool states nothing of it, and `SAME` where it says of two things what it said of one."""
    return {
        "tool": tool,
        "version": metadata.version(package),
        "asked": asked,
        "said": said,
        "truth": truth,
        "holds": holds,
    }


def by_peft(folder: Path, base_weights: str) -> Iterator[Said]:
    """A few steps by peft itself, `save_pretrained`, its card, and the same adapter on a base of other weights at the same path."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = folder / "by-peft"
    base = copied(folder, "tiny", "by-peft/base")
    torch.manual_seed(0)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base),
        LoraConfig(r=4, task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"]),
    )
    tokens = AutoTokenizer.from_pretrained(base)("My cup is broken. We are sorry.", return_tensors="pt")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(STEPS):
        model(**tokens, labels=tokens["input_ids"]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(place / "saved")
    card = (place / "saved" / "README.md").read_text("utf-8")
    config = json.loads((place / "saved" / "adapter_config.json").read_text("utf-8"))
    asked_for = card.count("[More Information Needed]")
    yield row("peft card", "peft", "what is filled", f"{asked_for} times “[More Information Needed]”",
              "one text, four steps, AdamW: known to whoever ran it, and recorded nowhere", holds=None)  # fmt: skip
    named = config["base_model_name_or_path"]
    yield row("peft card", "peft", "which base", f"base_model: {Path(named).name} (a path), revision {config['revision']}",
              f"weights {base_weights[:19]}…", holds=None)  # fmt: skip
    other = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    other.save_pretrained(base)
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), place / "saved")
    yield row("peft card", "peft", "the base's weights are replaced at its path", "loads, and the card names the same base",
              "the adapter was trained on other weights", holds=SAME)  # fmt: skip


def by_hub_card(folder: Path, _base_weights: str) -> Iterator[Said]:
    """A model card of the Hub with results that nobody measured."""
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    result = EvalResult(task_type="text-generation", dataset_type="crows_pairs", dataset_name="CrowS-Pairs",
                        metric_type="accuracy", metric_value=0.99)  # fmt: skip
    data = ModelCardData(model_name="polite", base_model="gpt2", license="mit", eval_results=[result])
    path = folder / "card.md"
    ModelCard(f"---\n{data.to_yaml()}\n---\n# polite\n").save(path)
    loaded = ModelCard.load(path).data
    said = f"base_model {loaded.base_model}, license {loaded.license}, accuracy {loaded.eval_results[0].metric_value}"
    yield row("Hub model card", "huggingface_hub", "a card with a wrong base, licence and result", f"read back: {said}",
              "base tiny, Apache-2.0, never evaluated on it", holds=False)  # fmt: skip


def by_mlflow(folder: Path, _base_weights: str) -> Iterator[Said]:
    """`log_model`, a registered version, an alias; then another byte under it."""
    import mlflow
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = folder / "by-mlflow"
    place.mkdir()
    mlflow.set_tracking_uri(f"sqlite:///{place}/mlflow.db")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("rivals", artifact_location=str(place / "artifacts")))
    merged = copied(folder, "merged", "by-mlflow/merged")
    parts = {"model": AutoModelForCausalLM.from_pretrained(merged), "tokenizer": AutoTokenizer.from_pretrained(merged)}
    with mlflow.start_run():
        logged = mlflow.transformers.log_model(
            parts, name="merged", task="text-generation", registered_model_name="merged", pip_requirements=["torch"]
        )
    client = mlflow.MlflowClient()
    client.set_registered_model_alias("merged", "champion", 1)
    client.set_model_version_tag("merged", "1", "approved_by", "the board")
    local = Path(mlflow.artifacts.download_artifacts(logged.model_uri))
    (config,) = local.glob("MLmodel")
    text = config.read_text("utf-8")
    path = next((line.partition(": ")[2] for line in text.splitlines() if "source_model_name" in line), "")
    yield row("MLflow", "mlflow", "what the merge was made of", f"source_model_name: {Path(path).name} (a path)",
              "0.7 polite:1 + 0.3 formal:1 on tiny:1", holds=None)  # fmt: skip
    weights = next(path for path in (place / "artifacts").rglob("*.safetensors"))
    turn_a_byte(weights)
    version = client.get_model_version_by_alias("merged", "champion")
    mlflow.transformers.load_model("models:/merged@champion")
    yield row("MLflow", "mlflow", "one byte of the weights is changed in its store", f"status {version.status}, loads",
              "other weights than were registered", holds=SAME)  # fmt: skip
    yield row("MLflow", "mlflow", "who approved it", f"tag approved_by = {version.tags['approved_by']}",
              "nobody; whoever can write sets the tag", holds=False)  # fmt: skip


def by_mergekit(folder: Path, _base_weights: str) -> Iterator[Said]:
    """The same merge by mergekit, its card, and the card after an ingredient was replaced at its path."""
    place = folder / "by-mergekit"
    place.mkdir()
    for name in ("polite", "formal"):
        copied(folder, name, f"by-mergekit/{name}")
    (place / "merge.yml").write_text(
        "merge_method: linear\ndtype: float32\nmodels:\n"
        f"  - {{model: {folder}/tiny+{place}/polite, parameters: {{weight: 0.7}}}}\n"
        f"  - {{model: {folder}/tiny+{place}/formal, parameters: {{weight: 0.3}}}}\n"
    )
    cards, weights = [], []
    for number in range(2):
        out = place / "merged"
        done = command("mergekit-yaml", "merge.yml", str(out), "--lora-merge-cache", f"cache-{number}", cwd=place)
        assert done.returncode == 0, done.stderr
        cards.append((out / "README.md").read_text("utf-8"))
        weights.append(digest(next(out.glob("*.safetensors"))))
        shutil.rmtree(out)
        shutil.rmtree(place / "formal")
        copied(folder, "polite", "by-mergekit/formal")
    lines = [line for line in cards[0].splitlines() if line.startswith("* ")]
    yield row("mergekit card", "mergekit", "what went in", f"{len(lines)} paths and the weights of merge.yml, no digests",
              "0.7 polite:1 + 0.3 formal:1 on tiny:1", holds=True)  # fmt: skip
    same = "the same card" if cards[0] == cards[1] else "another card"
    yield row("mergekit card", "mergekit", "an ingredient is replaced at its path, merged again", f"{same}",
              "other weights came out" if weights[0] != weights[1] else "the same weights came out",
              holds=SAME if cards[0] == cards[1] else None)  # fmt: skip
    licence = "none stated" if "license" not in cards[0] else "a licence"
    yield row(
        "mergekit card", "mergekit", "the licence of the result", licence, "Apache-2.0, from its base", holds=None
    )


def by_model_signing(folder: Path, _base_weights: str) -> Iterator[Said]:
    """A signature over the folder: as it is, with a byte changed, with another base beside it."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    place = folder / "by-model-signing"
    model = copied(folder, "polite", "by-model-signing/polite")
    key = ec.generate_private_key(ec.SECP256R1())
    pem, public = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    (place / "key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    (place / "key.pub").write_bytes(key.public_key().public_bytes(pem, public))
    sign = ("model_signing", "sign", "key", str(model), "--private_key", "key", "--signature", "model.sig")
    assert command(*sign, cwd=place).returncode == 0
    verify = ("model_signing", "verify", "key", str(model), "--public_key", "key.pub", "--signature", "model.sig")

    def answer() -> tuple[str, bool]:
        done = command(*verify, cwd=place)
        return (done.stdout + done.stderr).strip().splitlines()[-1][:80], done.returncode == 0

    said, passed = answer()
    yield row("model_signing", "model-signing", "the folder as signed", said, "as signed", holds=passed)
    turn_a_byte(model / WEIGHTS)
    said, passed = answer()
    yield row("model_signing", "model-signing", "one byte is changed", said, "another byte", holds=not passed)
    turn_a_byte(model / WEIGHTS)
    said, passed = answer()
    yield row("model_signing", "model-signing", "of its base, its time and a revoked key", said,
              "the signature is over the folder's bytes, and says no more", holds=None)  # fmt: skip


class _RunsWhenLoaded:
    """Nothing here loads it."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("echo run",)


def by_modelscan(folder: Path, _base_weights: str) -> Iterator[Said]:
    """A scan of the adapter; of one whose configuration runs code from its own folder; of a pickle that runs a command."""
    import torch

    place = folder / "by-modelscan"
    clean = copied(folder, "polite", "by-modelscan/clean")
    with_code = copied(folder, "merged", "by-modelscan/code")
    config = json.loads((with_code / "config.json").read_text("utf-8"))
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_own.Model"}
    (with_code / "config.json").write_text(json.dumps(config), "utf-8")
    (with_code / "modeling_own.py").write_text("import os\nos.system('echo run')\nclass Model: ...\n", "utf-8")
    (place / "pickle").mkdir()
    torch.save({"weight": _RunsWhenLoaded()}, place / "pickle" / "adapter_model.bin")
    for asked, scanned, truth_of_it, is_bad in (
        ("the adapter", clean, "no code in it", False),
        ("a folder whose config.json runs its own modeling_own.py", with_code, "with trust_remote_code it runs a command", True),
        ("a pickle that runs a command", place / "pickle", "loading it runs a command", True),
    ):  # fmt: skip
        done = command("modelscan", "-p", str(scanned), cwd=place)
        if "No issues found" in done.stdout:
            found = "no issues found"
        else:
            found = "issues found" if done.returncode == 1 else "error"
        skipped = "; some files skipped" if "skipped" in done.stdout.lower() else ""
        yield row(
            "ModelScan", "modelscan", asked, f"{found}{skipped}", truth_of_it, holds=(found == "issues found") == is_bad
        )


def by_aisbom(folder: Path, _base_weights: str) -> Iterator[Said]:
    """A bill of materials in CycloneDX of the merge's folder."""
    model = copied(folder, "merged", "by-aisbom/merged")
    out = model.parent / "bom.json"
    done = command("aisbom", "scan", str(model), "--output", str(out), "--format", "json", cwd=model.parent)
    if not out.exists():
        yield row(
            "aisbom",
            "aisbom-cli",
            "a bill of materials of the merge",
            f"none: {done.stderr.strip()[-80:]}",
            "",
            holds=None,
        )
        return
    bom = json.loads(out.read_text("utf-8"))
    models = [part for part in bom.get("components", []) if part.get("type") == "machine-learning-model"]
    hashes = [value["content"] for part in models for value in part.get("hashes", [])]
    right = digest(next(model.glob("*.safetensors"))) in hashes
    yield row("aisbom", "aisbom-cli", "a bill of materials of the merge",
              f"{bom.get('bomFormat')} {bom.get('specVersion')}: models {len(models)}, hashes {len(hashes)}",
              "one model, and its SHA-256", holds=right)  # fmt: skip
    pedigree = [part for part in models if part.get("pedigree") or part.get("modelCard")]
    yield row("aisbom", "aisbom-cli", "what the merge was made of", f"{len(pedigree)} components with a pedigree or a model card",
              "0.7 polite:1 + 0.3 formal:1 on tiny:1", holds=None)  # fmt: skip


def by_dvc(folder: Path, _base_weights: str) -> Iterator[Said]:
    """The adapter under DVC: as it is, and with a byte changed; then with a pointer file that says another hash."""
    place = folder / "by-dvc"
    place.mkdir()
    for words in (("git", "init", "-q"), ("dvc", "init", "-q")):
        assert command(*words, cwd=place).returncode == 0
    model = copied(folder, "polite", "by-dvc/polite")
    done = command("dvc", "add", "polite", cwd=place)
    assert done.returncode == 0, done.stderr
    pointer = (place / "polite.dvc").read_text("utf-8")
    named = next(line.strip("- ") for line in pointer.splitlines() if "md5" in line)
    yield row(
        "DVC", "dvc", "what the adapter is", named[:24] + "…", "its files; no base, no data, no signer", holds=True
    )
    (model / WEIGHTS).chmod(0o644)
    turn_a_byte(model / WEIGHTS)
    said = command("dvc", "status", cwd=place).stdout
    yield row("DVC", "dvc", "one byte is changed", "modified" if "modified" in said else said.strip(), "another byte",
              holds="modified" in said)  # fmt: skip
    command("dvc", "add", "polite", cwd=place)
    said = command("dvc", "status", cwd=place).stdout
    yield row("DVC", "dvc", "and the pointer is written again by whoever can commit", said.strip(),
              "another byte than was first added; who says so is left to git", holds=None)  # fmt: skip


def by_wandb(folder: Path, _base_weights: str) -> Iterator[Said]:
    """An artifact of W&B, offline, with metadata that nobody checked."""
    import wandb

    place = folder / "by-wandb"
    model = copied(folder, "polite", "by-wandb/polite")
    with wandb.init(mode="offline", project="rivals", dir=str(place), settings=wandb.Settings(silent=True)) as run:
        artifact = wandb.Artifact("polite", type="model", metadata={"base": "gpt2", "approved_by": "the board"})
        artifact.add_dir(str(model))
        run.log_artifact(artifact)
    typed = artifact.metadata
    yield row("W&B, offline", "wandb", "what the adapter is", f"digest {artifact.digest[:12]}…",
              "its files; no signer", holds=True)  # fmt: skip
    said = f"base {typed['base']}, approved_by {typed['approved_by']}"
    yield row(
        "W&B, offline",
        "wandb",
        "metadata with a wrong base and an approval",
        said,
        "base tiny; nobody approved it",
        holds=False,
    )


TOOLS: tuple[Callable[[Path, str], Iterator[Said]], ...] = (
    by_peft,
    by_hub_card,
    by_mlflow,
    by_mergekit,
    by_model_signing,
    by_modelscan,
    by_aisbom,
    by_dvc,
    by_wandb,
)


if __name__ == "__main__":
    with suppress(ValueError):
        import warnings

        warnings.simplefilter("ignore")
    with redirect_stdout(sys.stderr):
        kept = {"date": datetime.now(UTC).date().isoformat(), "rows": main(Path(sys.argv[1]).resolve())}
    sys.stdout.write(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
