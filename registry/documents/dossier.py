"""The folder that a recipient is handed: which files it has, and what its list of documents says. Pure.

cover.html cover.json …     a page and its data of each document, in their order
bom.cdx.json bom.json       the bill of materials, whose page is CycloneDX
dossier.json                the predicate of the `document` statement: record, edition, table, and the digests of both
document.intoto.jsonl       that statement, where somebody signed it
artifact/                   the version as it is pulled, or as the public gets it
attachments/KIND/NAME       what people attached to the version, of which this recipient gets this kind
policies/sha256-….yml       the bytes of each policy that somebody decided under, by their digest
sources/NAME-NUMBER/        what it was made from: its manifest, signature and evidence; with its weights where that was asked
VERIFY.txt                  how to check all of it, also without this program
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.compliance.editions import editions
from peft_registry.registry.documents.pages import render_documents
from peft_registry.registry.documents.recipients import recipients, table_digest
from peft_registry.registry.documents.view import DocumentSource, RecipientDocument, documents_for
from peft_registry.registry.verification.with_base import ARTIFACT_FOLDER, DOSSIER_FILE
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.hand_over import DocumentPredicate, HandedDocument
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import SIGNATURE_NAME
from peft_registry.schemas.statement import StoredStatement

SOURCES_FOLDER = "sources"
POLICIES_FOLDER = "policies"
STATEMENT_FILE = "document.intoto.jsonl"
SIGNER_FILE = "document.pub"
VERIFY_FILE = "VERIFY.txt"
# not indented, so that they can be pasted
_BY_LIST = f"""\
python3 - <<'END'
import hashlib, json
listed = json.load(open("{DOSSIER_FILE}"))
files = {{file["path"]: file["sha256"] for file in listed["files"]}}
for document in listed["documents"]:
    name = document["name"].replace("_", "-")
    files[name + ".json"] = document["data"]
    files[name + (".cdx.json" if name == "bom" else ".html")] = document["page"]
for path, digest in files.items():
    if "sha256:" + hashlib.sha256(open(path, "rb").read()).hexdigest() != digest:
        print("another than listed:", path)
END
"""
_BY_SIGNATURE = f"""\
python3 - <<'END'
import base64, json
envelope = json.load(open("{STATEMENT_FILE}"))
payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
open("/tmp/dossier.pae", "wb").write(b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload))
open("/tmp/dossier.sig", "wb").write(base64.b64decode(envelope["signatures"][0]["sig"]))
if json.loads(payload)["predicate"] != json.load(open("{DOSSIER_FILE}")):
    print("{DOSSIER_FILE} is not what was signed")
END
openssl dgst -sha256 -verify SIGNER.pub -signature /tmp/dossier.sig /tmp/dossier.pae
"""
SMALL_INSTALL_MB = 265  # a virtual environment with requirements-verify.txt and this package, uncompiled; 115 are scipy


@dataclass(frozen=True, slots=True)
class Dossier:
    """The documents of a dossier.

    Attributes:
        documents: as values, in their order.
        files: every file of them by its path.
        index: what is signed of them, without what lies beside them.
    """

    documents: tuple[RecipientDocument, ...]
    files: Mapping[str, bytes]
    index: DocumentPredicate


def make_dossier(source: DocumentSource, recipient: str, *, release: str) -> Dossier:
    """The documents that a recipient gets of a version. Same record, recipient, table and release: same bytes."""
    documents = documents_for(source, recipient)
    files = {document.document: file_names(document.document) for document in documents}
    pages = render_documents(
        documents,
        as_of=source.as_of,
        release=release,
        stops=source.stops,
        files={name: page for name, (_, page) in files.items()},
    )
    data: dict[str, bytes] = {document.document: document.to_canonical() for document in documents}
    index = DocumentPredicate(
        recipient=recipient,
        record=source.digest,
        statement=source.statement,
        edition=source.edition,
        as_of=source.as_of,
        table=rules_digest(),
        renderer=release,
        documents=tuple(
            HandedDocument(name=name, data=Digest.of(data[name]), page=Digest.of(pages[name])) for name in data
        ),
    )
    written = {files[name][1]: page for name, page in pages.items()}
    written |= {files[name][0]: content for name, content in data.items()}
    return Dossier(documents, written, index)


def rules_digest() -> Digest:
    """Of all that decides what documents hold of a record: the rows, who gets them, and by which edition they are judged."""
    return canonical_digest({"table": str(table_digest()), "edition": editions().newest.to_json()})


def file_names(document: str) -> tuple[str, str]:
    """The files of a document: its data and its page."""
    stem = document.replace("_", "-")
    return f"{stem}.json", f"{stem}.cdx.json" if document == "bom" else f"{stem}.html"


def policies_named(statements: Iterable[StoredStatement]) -> tuple[Digest, ...]:
    """The policies that people decided under, each once, in the order of the log."""
    named: dict[str, None] = {}
    for stored in statements:
        predicate: dict[str, Any] = stored.statement.predicate
        gate = predicate.get("gate")
        for holder in (predicate, gate if isinstance(gate, dict) else {}):
            policy = holder.get("policy")
            if isinstance(policy, str) and stored.kind in ("alias", "approval", "waiver", "decision", "gate"):
                named[policy] = None
    return tuple(map(Digest.parse, named))


def policy_file(policy: Digest) -> str:
    """Where the bytes of a policy lie."""
    return f"{POLICIES_FOLDER}/sha256-{policy.hex}.yml"


def verify_text(index: DocumentPredicate, *, label: str, manifest: Digest, signed: bool) -> bytes:
    """VERIFY.txt: what to type, and what it shows.

    Args:
        index: of the documents.
        label: of the version.
        manifest: of its artifact.
        signed: whether somebody signed the documents.
    """
    whole = recipients().recipients[index.recipient].evidence == "whole"
    to = recipients().recipients[index.recipient].title.removeprefix("the ")
    derive = (
        "It cuts each document from the signed record again, and does every figure again that can be."
        if whole
        else "The record stays with the provider: the documents rest on whoever signed them, and the exit is 5."
    )
    signer = (
        f"{STATEMENT_FILE} signs {DOSSIER_FILE}; its key has to be in the trust file."
        if signed
        else f"Nobody signed {DOSSIER_FILE}: the exit is 5. Ask for a dossier that somebody signed, with --key."
    )
    text = f"""{label}, for the {to}
manifest {manifest}

1. Install what checks, without torch (about {SMALL_INSTALL_MB} MB):
     python3 -m venv audit
     audit/bin/pip install --no-compile -r requirements-verify.txt      (of peft-registry {index.renderer} or later)
     audit/bin/pip install --no-compile --no-deps peft-registry
2. Get the trust file from its keeper, and the digest of its root over another channel. One that lies here is not authority.
3. Everything at once, without a network:
     audit/bin/registry verify . --audit --trust TRUST.json --root sha256:…
   {derive}
   {signer}
   It ends with 0 where all was shown, with 5 where something could not be checked, with 6 where a file is wrong, which is named.
4. Without this program: the files of the version, by the key of whoever made it, which the trust file has too
     model_signing verify key {ARTIFACT_FOLDER} --signature {ARTIFACT_FOLDER}/{SIGNATURE_NAME} --public_key TRAINER.pub

5. Every other file, by the list of them; what is another is printed

{_BY_LIST}
"""
    if signed:
        text += f"""6. The signature of that list, by its signer's key from the trust file; "Verified OK" alone is printed

{_BY_SIGNATURE}
"""
    return text.encode()
