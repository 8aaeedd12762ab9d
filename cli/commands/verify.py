"""verify: is this what was registered and signed?"""

import contextlib
import gc
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console, wiring
from peft_registry.cli.auditing import of_audit
from peft_registry.cli.completion import offer_versions
from peft_registry.cli.many import BegunWork, ListRun, Work, run_over
from peft_registry.cli.options import OptionNeeded, RootOption, TrustOption
from peft_registry.cli.outcome import OVER_MANY, READS_AT, Home, Note, Outcome, Part, command
from peft_registry.cli.tables import wrapped_lines
from peft_registry.cli.verifying import (
    VerifyRequest,
    audited,
    audited_with_rerun,
    is_folder,
    require_absent,
    verified,
    verified_lineage,
)

if TYPE_CHECKING:
    from peft_registry.registry.bulk.lists import ListItem
    from peft_registry.registry.homes.home import Registry
    from peft_registry.schemas.version import (
        Check,
        LineageOutcome,
        NodeOutcome,
        NodeVerdict,
        Verdict,
        VerifyOutcome,
    )

# the colour of each verdict is that of a check
_STATUS_OF: "dict[NodeVerdict, str]" = {
    "verified": "ok",
    "recorded": "recorded",
    "unverified": "unchecked",
    "broken": "failed",
}
# columns of a line of a check
_TEXT_AT = 15
_STATUS_WIDTH = 2 + len("unchecked")
_TEXT_MIN = 24
_NODE_TEXT_AT = 8
_OBJECTS_BETWEEN_COLLECTIONS = 10_000  # some MB where all of them are in circles


def add_to(app: typer.Typer) -> None:
    """Enter `registry verify`."""
    app.command()(verify)


@command((*READS_AT, *OVER_MANY))
def verify(
    home: Home,
    target: Annotated[
        str | None,
        typer.Argument(
            help="A version (name:3, name@alias, sha256:…) or a pulled folder; or a list, with --where or --list.",
            show_default=False,
            autocompletion=offer_versions,
        ),
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also verify everything that it was made from and that is here.")
    ] = False,
    audit: Annotated[
        bool, typer.Option("--audit", help="Of a folder: do every figure again that can be, and its documents.")
    ] = False,
    rerun: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            min=1,
            help="With --audit, where torch is: run K stretches of the training again, which the log draws.",
        ),
    ] = None,
    states: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="With --rerun: the states that the training kept.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="With --rerun: the rows, under the names that the record has.")
    ] = None,
    trust: TrustOption = None,
    root: RootOption = None,
    base: Annotated[Path | None, typer.Option(help="Path of the base, to check its bytes too.")] = None,
    require: Annotated[
        list[str] | None, typer.Option(metavar="WHAT", help="Also require base-bytes, log-proof or witness.")
    ] = None,
    file_digests: Annotated[
        bool,
        typer.Option(
            "--file-digests", help="Hash each weights file as a whole too; its header and tensors prove it without."
        ),
    ] = False,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Hash every file again, also those unchanged since you verified them.")
    ] = False,
    record: Annotated[
        bool,
        typer.Option("--record", help="Of a list: verify everything, and sign one statement over all verdicts."),
    ] = False,
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="PEM",
            help="Public key of whoever signed a foreign model with OpenSSF Model Signing; asks no registry.",
        ),
    ] = None,
    signature: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Signature of a foreign model; default: model.sig in the folder."),
    ] = None,
    ignore_paths: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="File or folder that is not part of a foreign model."),
    ] = None,
) -> Outcome:
    """Check that an artifact is what was registered and signed. Ten numbered checks."""
    if home.is_for_many:
        of_one: dict[str, object] = {
            "TARGET": target,
            "--deep": deep,
            "--audit": audit,
            "--rerun": rerun,
            "--key": key,
            "--signature": signature,
        }
        work = VerifyWork(trust, tuple(root or ()), base, tuple(require or ()), file_digests, no_cache)
        of_one |= {"--states": states, "--data": data, "--ignore-paths": ignore_paths, "--checkpoint": home.checkpoint}
        ran = run_over(home, work, of_one, to_sign=record)
        return ran.outcome(home.words, recorded=_recorded(home.registry, ran, is_signed=record))
    if record:
        raise typer.BadParameter("what is recorded is a list: name it with --where or --list", param_hint="--record")
    if target is None:
        raise typer.BadParameter("name a version or a folder, or a list with --where or --list", param_hint="TARGET")
    if key is not None:
        unusable: dict[str, object] = {
            "--deep": deep,
            "--audit": audit,
            "--rerun": rerun,
            "--trust": trust,
            "--root": root,
            "--base": base,
        }
        unusable |= {"--require": require, "--file-digests": file_digests, "--checkpoint": home.checkpoint}
        require_absent(unusable, beside="--key, which asks no registry")
        return _of_foreign(_verified_foreign(Path(target), key, signature, ignore_paths or []))
    require_absent({"--signature": signature, "--ignore-paths": ignore_paths}, beside="no --key")
    request = VerifyRequest(
        target, home.folder, trust, root, home.checkpoint, base, require or [], file_digests, no_cache
    )
    if audit:
        require_absent({"--deep": deep, "--require": require, "--file-digests": file_digests}, beside="--audit")
        if rerun is None:
            require_absent({"--base": base, "--states": states, "--data": data}, beside="--audit without --rerun")
            return of_audit(audited(request))
        if states is None or data is None:
            missing = "--states FOLDER" if states is None else "--data FOLDER"
            raise OptionNeeded(missing, "the states of the training and its rows lie in no dossier")
        return of_audit(audited_with_rerun(request, rerun, states, data, observe=home.story))
    require_absent({"--rerun": rerun, "--states": states, "--data": data}, beside="no --audit")
    return _of_lineage(verified_lineage(request), request) if deep else _of_version(verified(request), request)


@dataclass(frozen=True)
class VerifyWork(Work):
    """`registry verify` of registered versions."""

    verb = "verify"
    at_once = 32

    trust: Path | None = None
    root: tuple[str, ...] = ()
    base: Path | None = None
    require: tuple[str, ...] = ()
    file_digests: bool = False
    no_cache: bool = False

    def begin(self, registry: "Registry", closing: ExitStack) -> BegunWork:
        """Verify each item with what this process hashed for those before it."""
        # what a version says is read to some ten thousand objects, none of them in a circle: to look for circles each time
        # after 700, as Python does, takes a fifth of the time
        closing.callback(gc.set_threshold, *gc.get_threshold())
        gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
        from peft_registry.cli.verifying import VerifyRequest
        from peft_registry.registry.disk.hashing import RunDigests
        from peft_registry.registry.records.references import version_named
        from peft_registry.registry.records.stops import with_stops
        from peft_registry.registry.use_cases.verify import verifier

        policy, problem = wiring.chosen_trust(registry, self.trust, list(self.root))
        kept = None if self.no_cache else wiring.digests_of_earlier_runs()
        digests = closing.enter_context(contextlib.closing(RunDigests(kept)))
        asked = VerifyRequest("", require=self.require, file_digests=self.file_digests)
        verify = closing.enter_context(
            verifier(
                registry,
                trust=policy,
                trust_problem=problem,
                base=self.base,
                require=asked.requirements(),
                digests=digests,
            )
        )

        def run_item(item: "ListItem") -> Outcome:
            outcome = verify(version_named(registry, item.parts[0], trust=policy))
            return _item_outcome(outcome if outcome.verdict == "broken" else with_stops(registry, outcome))

        return BegunWork(run_item)


def _recorded(registry: "Registry", ran: ListRun, *, is_signed: bool) -> str | None:
    """What was signed now about the verdicts, or was before; None where nothing is, or not every item has a verdict."""
    from peft_registry.registry.use_cases.record_verifications import (
        record_verifications,
        recorded_verifications,
        root_of,
    )
    from peft_registry.schemas.identity import Digest

    results = [ran.known.get(item.parts) for item in ran.items]
    found = [
        (Digest.parse(result.item.parts[0]), str(result.value["verdict"]))
        for result in results
        if result is not None and result.value is not None
    ]
    if not found or len(found) < len(results):
        why = "not every item has a verdict" if results else "this shard has no items"
        return f"nothing: {why}" if is_signed else None
    job, shard = ran.job, str(ran.shard)
    if is_signed:
        said = record_verifications(registry, job.list, found, shard=shard, plan=job.plan)
        return f"root {root_of(found)} over {len(found)} verdicts, in statement {said.short}"
    before = recorded_verifications(registry, job.list, shard=shard, plan=job.plan)
    if before is None:
        return None
    how = "the same verdicts as in" if before.root == root_of(found) else "other verdicts than in"
    return f"{how} log entry {before.entry} ({before.at})"


def _item_outcome(outcome: "VerifyOutcome") -> Outcome:
    """How an item of a list verified; its problem is the first check that decided against it."""
    from peft_registry.schemas.errors import IntegrityBroken, NotChecked

    value = outcome.model_dump(mode="json")
    if outcome.verdict == "verified":
        return Outcome(value)
    is_broken = outcome.verdict == "broken"
    check = next(check for check in outcome.checks if check.status == ("failed" if is_broken else "unchecked"))
    problem = (IntegrityBroken if is_broken else NotChecked).in_words(
        what=f"{outcome.subject} is {outcome.verdict}",
        why=check.text,
        fix=f"`registry verify {outcome.subject}` says more",
        reference=check.error or check.step,
    )
    return Outcome(value, problem=problem)


def _verified_foreign(target: Path, key: Path, signature: Path | None, ignored: list[str]) -> "VerifyOutcome":
    from peft_registry.registry.disk.files import read_offered
    from peft_registry.registry.signing.keys import KEY_FILE_MAX_BYTES
    from peft_registry.registry.verification.foreign_folder import (
        ForeignModel,
        default_signature,
        verify_foreign_model,
    )

    model = ForeignModel(target, signature or default_signature(target), tuple(ignored))
    return verify_foreign_model(model, read_offered(key, max_bytes=KEY_FILE_MAX_BYTES))


def _of_foreign(outcome: "VerifyOutcome") -> Outcome:
    notes = {
        "verified": "next: load it from here; who holds the key, and whether they may sign, is for you to know",
        "unverified": "fix: get the signer's public key over another channel",
        "broken": "fix: do not load it; fetch it again from whoever signed it",
    }
    lines: list[Part] = [_Checks(outcome), Note(notes[outcome.verdict])]
    return Outcome(outcome.model_dump(mode="json"), lines, exit_code=outcome.exit_code)


def _of_version(outcome: "VerifyOutcome", request: VerifyRequest) -> Outcome:
    lines: list[Part] = [_Checks(outcome)]
    lines += [Note(f"recalled: {recall}; it is not handed out") for recall in outcome.recalls]
    lines += [Note(stop.line) for stop in outcome.stops]
    return _with_advice(outcome, lines, outcome.checks, request)


def _of_lineage(outcome: "LineageOutcome", request: VerifyRequest) -> Outcome:
    return _with_advice(outcome, [_Nodes(outcome)], outcome.nodes[-1].checks, request)


def _with_advice(
    outcome: "VerifyOutcome | LineageOutcome", lines: list[Part], checks: "tuple[Check, ...]", request: VerifyRequest
) -> Outcome:
    """The findings, and the next step: the command that follows, or the remedy."""
    value, code = outcome.model_dump(mode="json"), outcome.exit_code
    if outcome.verdict == "verified":
        return Outcome(value, lines, _after_verified(request.target), exit_code=code)
    return Outcome(value, [*lines, Note(f"fix: {_remedy(outcome.verdict, checks, request)}")], exit_code=code)


@dataclass(frozen=True, slots=True)
class _Nodes:
    """A line for each artifact, sources first, and below it each check that has something to say."""

    outcome: "LineageOutcome"

    def show(self) -> None:
        outcome = self.outcome
        labels = [_node_label(node) for node in outcome.nodes]
        width = max(len(label) for label in labels)
        for number, (node, label) in enumerate(zip(outcome.nodes, labels, strict=True), start=1):
            kind = "not registered here" if node.verdict == "recorded" and node.kind == "unknown" else node.kind
            verdict = console.painted(node.verdict, _STATUS_OF[node.verdict])
            console.out(f"{number:>3} {label:<{width}}  {kind:<8}  {verdict}")
            for check in node.checks:
                console.line(f"{'':<6}{check.step}: {check.text}", indent=_NODE_TEXT_AT)
                for rest in check.detail:
                    console.line(" " * _NODE_TEXT_AT + rest, indent=_NODE_TEXT_AT)
        counted = Counter(node.verdict for node in outcome.nodes)
        summary = ", ".join(f"{counted[verdict]} {verdict}" for verdict in _STATUS_OF if counted[verdict])
        console.out(f"{console.painted(outcome.verdict, _STATUS_OF[outcome.verdict])}   {summary}")


def _node_label(node: "NodeOutcome") -> str:
    digest = "" if node.digest is None or node.label == node.digest.short else f" {node.digest.short}"
    return console.printable(node.label) + digest


@dataclass(frozen=True, slots=True)
class _Checks:
    """A numbered line for each check, and the verdict."""

    outcome: "VerifyOutcome"

    def show(self) -> None:
        outcome = self.outcome
        texts = [console.printable(check.text) for check in outcome.checks]
        width = max(len(text) for text in texts)
        terminal = console.terminal_width(sys.stdout)
        if terminal is not None:
            width = max(min(width, terminal - _TEXT_AT - _STATUS_WIDTH), _TEXT_MIN)
        for number, (check, text) in enumerate(zip(outcome.checks, texts, strict=True), start=1):
            first, *others = wrapped_lines(text, width=width, indent=0)
            console.out(f"{number:>2} {check.step:<11} {first:<{width}}  {console.painted(check.status, check.status)}")
            for rest in (*others, *map(console.printable, check.detail)):
                console.line(" " * _TEXT_AT + rest, indent=_TEXT_AT)
        console.out(console.painted(outcome.verdict, _STATUS_OF[outcome.verdict]))


def _remedy(verdict: "Verdict", checks: "tuple[Check, ...]", request: VerifyRequest) -> str:
    lacks_trust = any(check.step == "trust" and check.status == "unchecked" for check in checks)
    if verdict == "broken":
        return "do not load it; pull it again from its registry: registry pull NAME:NUMBER FOLDER"
    if any(check.error == "own-log-damaged" for check in checks):
        return "`registry log check` says what is wrong with your own registry; ask another machine meanwhile"
    if request.trust is None and lacks_trust:
        return f"get the trust file from its keeper, then: registry verify {request.target} --trust FILE"
    unchecked = {check.error for check in checks if check.status == "unchecked"}
    if unchecked == {"statements-withheld"}:  # no option brings them here
        return (
            "nothing that is here is wrong; ask whoever handed it over for the whole copy, or rely on what was checked"
        )
    if unchecked == {"witness-required"}:
        return _how_to_be_witnessed(request.target)
    return "provide what could not be checked above (--trust, --base), or require less (--require)"


def _how_to_be_witnessed(target: str) -> str:
    from peft_registry.registry.verification.evidence import PROOF_PATH

    folder = target if is_folder(target) else "FOLDER"
    # a registry keeps no cosignature: it stands in a copy
    pulled = "" if is_folder(target) else f"registry pull {target} FOLDER, then "
    return (
        f"{pulled}have a witness whose key the trust file lists cosign the checkpoint in {folder}/{PROOF_PATH}, "
        f"add its line at the end of that file, and verify {folder}; or leave out --require witness"
    )


def _after_verified(target: str) -> str:
    """What follows on a success: a version has a report; in a folder the evaluations can be recomputed, where it has any."""
    if not is_folder(target):
        return f"registry report {target}"
    if any((Path(target) / "evidence").glob("items*")):
        return f"registry evaluate {target} --recheck"
    return f"registry verify {target} --require log-proof"
