"""Six edits of a dossier that need no key of the registry, always the same: for REVIEWERS.md, and whoever tries it.

`python -m tests.builders.tampered DOSSIER COPY` writes the copy with all six. The list of documents is mended, so that every file
has the digest that stands there: what is found is found by signatures.
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from peft_registry.registry.documents.dossier import file_names
from peft_registry.registry.documents.listed_files import files_to_list
from peft_registry.registry.signing.dsse import Envelope
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.schemas.hand_over import DocumentPredicate, HandedFile
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import Statement
from tests.builders.files import contents, with_another_digit
from tests.builders.signing import a_chain, a_p256_key, a_policy, a_trusted_key

CARRIER = a_p256_key(66)
"""The key of whoever carried the dossier."""


def on_the_card(dossier: Path) -> str:
    return _edited(dossier, "artifact/README.md", lambda data: data.replace(b"# ", b"# Fit for every use: ", 1))


def in_the_statements(dossier: Path) -> str:
    """An evaluation is taken out."""

    def without_evaluations(data: bytes) -> bytes:
        lines = data.splitlines(keepends=True)
        return b"".join(line for line in lines if kind_of(line) != "bias-evaluation")

    return _edited(dossier, "artifact/evidence/statements.intoto.jsonl", without_evaluations)


def kind_of(line: bytes) -> str:
    """Of which kind the statement of a line is."""
    return Statement.from_json(json.loads(Envelope.parse(line.rstrip(b"\n")).payload)).kind


def on_the_cover(dossier: Path) -> str:
    sentence = b"<p>Approved by the authority.</p></body>"
    return _edited(dossier, "cover.html", lambda data: data.replace(b"</body>", sentence))


def in_the_policy(dossier: Path) -> str:
    """What it asks last is left out."""
    (policy,) = (dossier / "policies").glob("*.yml")
    name = policy.relative_to(dossier).as_posix()
    return _edited(dossier, name, lambda data: b"".join(data.splitlines(keepends=True)[:-1]))


def in_a_source(dossier: Path) -> str:
    (source,) = (dossier / "sources").iterdir()
    name = (source / "evidence" / "statements.intoto.jsonl").relative_to(dossier).as_posix()
    return _edited(dossier, name, with_another_digit)


def with_its_own_trust(dossier: Path) -> str:
    """A trust file of whoever carried it, and a VERIFY.txt that names it."""
    policy = a_policy(a_trusted_key(a_p256_key(67)), roots=[CARRIER])
    (dossier / "trust.json").write_bytes(render_chain(a_chain(policy, CARRIER)))
    return _edited(
        dossier, "VERIFY.txt", lambda data: data.replace(b"--trust TRUST.json --root sha256:", b"--trust trust.json #")
    )


TAMPERS: dict[str, Callable[[Path], str]] = {
    "a word on the card": on_the_card,
    "an evaluation taken out of the statements": in_the_statements,
    "a sentence on the cover": on_the_cover,
    "a policy that asks for less": in_the_policy,
    "a digit in what is recorded of the base": in_a_source,
    "a trust file in the dossier": with_its_own_trust,
}
"""What is planted, each with what plants it and answers which file it edited."""


def plant(dossier: Path, copy: Path) -> dict[str, str]:
    """Write a copy of a dossier with every edit, its list mended; which file each edited, by what was planted."""
    shutil.copytree(dossier, copy)
    edited = {what: tamper(copy) for what, tamper in TAMPERS.items()}
    mend_list(copy)
    return edited


def mend_list(dossier: Path) -> None:
    """Give each file the digest in the list that it has now, and list what is new."""
    path = dossier / "dossier.json"
    index = DocumentPredicate.from_json(json.loads(path.read_bytes()))
    digests = {name: Digest.of(data) for name, data in contents(dossier).items()}
    names = {document.name: file_names(document.name) for document in index.documents}
    documents = tuple(
        document.revised(data=digests[names[document.name][0]], page=digests[names[document.name][1]])
        for document in index.documents
    )
    beside = files_to_list(dossier) - {file for pair in names.values() for file in pair}
    files = tuple(HandedFile(path=name, sha256=digests[name]) for name in sorted(beside))
    path.write_bytes(index.revised(documents=documents, files=files).to_canonical())


def _edited(dossier: Path, name: str, edit: Callable[[bytes], bytes]) -> str:
    file = dossier / name
    before = file.read_bytes()
    after = edit(before)
    assert after != before, name
    file.write_bytes(after)
    return name


if __name__ == "__main__":
    for planted, where in plant(Path(sys.argv[1]), Path(sys.argv[2])).items():
        print(f"{where}: {planted}")
