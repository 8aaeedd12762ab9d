"""The bill of materials of a version as CycloneDX 1.7: a rendering of the document `bom`, and so of what its recipient may have.

Pure. Source: ECMA-424, CycloneDX v1.7, bom-1.7.schema.json. The bases are the pedigree of the model, data and libraries are
components that it depends on, and each figure of an evaluation is a performance metric with its slice and interval. A hash of a
base is that of its tensors, and of the model that of its manifest, because those are what is signed; a property says so.
"""

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.licenses import InvalidLicenseExpression

from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.notations import canonical_licence
from peft_registry.registry.documents.view import DocumentValue, RecipientDocument
from peft_registry.registry.reports.text import plain
from peft_registry.schemas.codes import code_in
from peft_registry.schemas.manifest import CARD_NAME, FILE_NAME, SIGNATURE_NAME
from peft_registry.schemas.values import Timestamp

_SCHEMA = "http://cyclonedx.org/schema/bom-1.7.schema.json"
_PROPERTY = "peft-registry:"
_DIGEST = re.compile("sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class _Values:
    """The values of a document by path; of arrays, item by item."""

    by_path: Mapping[str, DocumentValue]

    @classmethod
    def of(cls, document: RecipientDocument) -> "_Values":
        return cls({value.path: value for row in document.rows for value in row.values})

    def value(self, path: str) -> Any:  # any JSON value
        found = self.by_path.get(path)
        return None if found is None else found.value

    def text(self, path: str) -> str | None:
        value = self.value(path)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return json.dumps(value)  # programs read it
        return None if value is None else plain(value)

    def items(self, section: str) -> Iterator[tuple[int, "_Values"]]:
        """The items of an array of which a value is here, each with its values by the name of the field."""
        of_items: dict[int, dict[str, DocumentValue]] = {}
        for path, value in self.by_path.items():
            place = FieldPath.parse(path)
            if place.section == section and place.position is not None:
                of_items.setdefault(place.position, {})[place.field] = value
        for position in sorted(of_items):
            yield position, _Values(of_items[position])


def bill_of_materials(
    document: RecipientDocument, *, as_of: Timestamp, release: str, artifact: str, stops: tuple[str, ...] = ()
) -> bytes:
    """The document as CycloneDX, UTF-8. Same document, same bytes.

    Args:
        document: the `bom` of one recipient.
        as_of: when the newest statement about the version was made.
        release: of this program.
        artifact: the folder of the version, seen from the file.
        stops: why it must not be used.
    """
    values = _Values.of(document)
    bases = [_base(position, base) for position, base in values.items("base")]
    data = [_data(position, used) for position, used in values.items("data")]
    libraries = list(_libraries(values))
    model = _model(document, values, bases, data, artifact=artifact, stops=stops)
    bill = {
        "$schema": _SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        # by what it says, so that it is the same whoever derives it
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'urn:peft-registry:bom:{document.canonical_digest()}')}",
        "version": 1,
        "metadata": {
            "timestamp": as_of,
            "tools": {"components": [{"type": "application", "name": "peft-registry", "version": release}]},
            "component": model,
        },
        "components": [*data, *libraries],
        "dependencies": [
            {"ref": model["bom-ref"], "dependsOn": [part["bom-ref"] for part in (*bases, *data, *libraries)]}
        ],
    }
    return (json.dumps(bill, indent=1, ensure_ascii=False) + "\n").encode()


def _model(
    document: RecipientDocument,
    values: _Values,
    bases: list[dict[str, Any]],
    data: list[dict[str, Any]],
    *,
    artifact: str,
    stops: tuple[str, ...],
) -> dict[str, Any]:
    name, _, number = document.version.rpartition(":")
    maker = values.text("modifier.legal_name")
    card = _without_empty(
        {
            "modelParameters": _parameters(values, data),
            "quantitativeAnalysis": _without_empty({"performanceMetrics": list(_metrics(values))}),
            "considerations": _without_empty(
                {
                    "useCases": _texts(values.value("use.intended")),
                    "technicalLimitations": _texts(values.value("limitations.known")),
                }
            ),
        }
    )
    properties = (
        _property("method", values.text("method.kind")),
        _property("out-of-scope", values.text("use.out_of_scope")),
        _property("hash-of", FILE_NAME),
        _property("record", str(document.record)),
        *(_property("stopped", stop) for stop in stops),
    )
    return _without_empty(
        {
            "type": "machine-learning-model",
            "bom-ref": "model",
            "manufacturer": {"name": maker} if maker else None,
            "name": values.text("identity.result_name") or name,
            "version": number,
            "hashes": _hashes(str(document.manifest)),
            "licenses": _licences(values.value("product.licence")),
            "pedigree": {"ancestors": bases} if bases else None,
            "externalReferences": [
                {"type": "model-card", "url": f"{artifact}/{CARD_NAME}"},
                {"type": "digital-signature", "url": f"{artifact}/{SIGNATURE_NAME}"},
                {"type": "evidence", "url": f"{artifact}/{FILE_NAME}", "hashes": _hashes(str(document.manifest))},
            ],
            "modelCard": card,
            "properties": [entry for entry in properties if entry is not None],
        }
    )


def _parameters(values: _Values, data: list[dict[str, Any]]) -> dict[str, Any]:
    architecture = values.value("product.architecture")
    modalities = values.value("use.modalities")
    sides = modalities if isinstance(modalities, dict) else {}
    named = architecture.get("architecture") if code_in(architecture) is not None else architecture
    return _without_empty(
        {
            "modelArchitecture": None if named is None else plain(named),
            "datasets": [{"ref": used["bom-ref"]} for used in data],
            "inputs": [{"format": text} for text in _texts(sides.get("input"))],
            "outputs": [{"format": text} for text in _texts(sides.get("output"))],
        }
    )


def _base(position: int, base: _Values) -> dict[str, Any]:
    digest, address = base.text("tensor_digest"), base.text("source_url")
    provider = base.text("provider")
    properties = (
        _property("source", None if _distribution(address) else address),
        _property("revision", base.text("revision")),
        _property("hash-of", "tensors" if digest else None),
    )
    return _without_empty(
        {
            "type": "machine-learning-model",
            "bom-ref": f"base-{position + 1}",
            "supplier": {"name": provider} if provider else None,
            "name": base.text("name") or f"base {position + 1}",
            "version": base.text("version"),
            "hashes": _hashes(digest),
            "licenses": _licences(base.value("licence_id")),
            "externalReferences": _distribution(address),
            "properties": [entry for entry in properties if entry is not None],
        }
    )


def _data(position: int, used: _Values) -> dict[str, Any]:
    name = used.text("name") or f"data {position + 1}"
    address = used.text("source_url")
    properties = [
        _property(field.replace("_", "-"), used.text(field))
        for field in ("provenance_class", "modality", "languages", "n_points", "unit")
    ]
    return _without_empty(
        {
            "type": "data",
            "bom-ref": f"data-{position + 1}",
            "name": name,
            "hashes": _hashes(used.text("digest")),
            "licenses": _licences(used.value("licence")),
            "externalReferences": _distribution(address),
            "data": [{"type": "dataset", "name": name}],
            "properties": [entry for entry in properties if entry is not None],
        }
    )


def _distribution(address: str | None) -> list[dict[str, str]]:
    """Where something is given out, as an address; the name of a repository is none."""
    return [{"type": "distribution", "url": address}] if address is not None and "://" in address else []


def _libraries(values: _Values) -> Iterator[dict[str, Any]]:
    libraries = values.value("code.libraries")
    for name, version in sorted(libraries.items()) if isinstance(libraries, dict) else ():
        yield {
            "type": "library",
            "bom-ref": f"library-{name}",
            "name": name,
            "version": plain(version),
            "scope": "required",
        }


def _metrics(values: _Values) -> Iterator[dict[str, Any]]:
    """Each figure before and after, then each difference, with its slice and its interval where it has one."""
    for field in ("evaluation.metrics", "evaluation.delta"):
        rows = values.value(field)
        # an import may state them otherwise
        for row in filter(lambda row: isinstance(row, dict), rows if isinstance(rows, list) else ()):
            number = row.get("change") if field == "evaluation.delta" else row.get("value")
            of = "change" if field == "evaluation.delta" else row.get("arm")
            low, high = row.get("low"), row.get("high")
            yield _without_empty(
                {
                    "type": f"{row.get('suite')} {row.get('metric')}, {of}",
                    "value": None if number is None else json.dumps(number),
                    "slice": None if row.get("slice") is None else plain(row["slice"]),
                    "confidenceInterval": None
                    if low is None or high is None
                    else {"lowerBound": json.dumps(low), "upperBound": json.dumps(high)},
                }
            )


def _hashes(digest: str | None) -> list[dict[str, str]]:
    if digest is None or not _DIGEST.fullmatch(digest):
        return []
    return [{"alg": "SHA-256", "content": digest.rpartition(":")[2]}]


def _licences(licence: Any) -> list[dict[str, Any]]:  # any JSON value
    """A licence of the SPDX list as an expression; anything else by what it is called."""
    if licence is None:
        return []
    text = plain(licence)
    try:
        return [{"expression": canonical_licence(text), "acknowledgement": "declared"}]
    except InvalidLicenseExpression:
        return [{"license": {"name": text, "acknowledgement": "declared"}}]


def _texts(value: Any) -> list[str]:  # any JSON value
    if value is None:
        return []
    return [plain(entry) for entry in value] if isinstance(value, list) else [plain(value)]


def _property(name: str, text: str | None) -> dict[str, str] | None:
    return None if text is None else {"name": f"{_PROPERTY}{name}", "value": text}


def _without_empty(members: dict[str, Any]) -> dict[str, Any]:
    """What there is none of is left out: the schema has no null, and an empty part would say that somebody looked."""
    return {key: value for key, value in members.items() if value is not None and value not in ([], {})}
