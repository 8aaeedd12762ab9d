"""JSON that is offered."""

import base64
import json
import os
import pickle
import shutil
import socket
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from peft_registry.registry.signing import dsse, oms
from peft_registry.registry.use_cases.statements import sign_statement
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import PAYLOAD_TYPE
from tests.builders.hostile.edits import JSON_BYTES, NOTE_BYTES, changed_line, edited, removed, spoiled
from tests.builders.hostile.place import COMPLETE, PROOF, STATEMENTS, WEIGHTS, Case, Place
from tests.builders.signing import a_p256_key, an_ed25519_key


def offered_json() -> Iterator[Case]:
    def of(file: str, change: Callable[[bytes], bytes]) -> Callable[[Place], list[str]]:
        def make(place: Place) -> list[str]:
            spoiled(place.base / file, change)
            return place.add_base()

        return make

    for name, change in JSON_BYTES.items():
        yield Case("json", f"config-{name}", of("config.json", change), 2)
    for name in ("empty", "cut", "repeated-key", "100000-levels", "a-list", "nan"):
        yield Case("json", f"tokenizer-{name}", of("tokenizer.json", JSON_BYTES[name]), 2)
    code = {"auto_map": {"AutoModel": "modeling.Evil"}}
    yield Case("json", "config-names-code", lambda place: _config(place, **code), 2)
    yield Case("json", "code-beside", lambda place: place.add_base_with("modeling_evil.py", b"raise SystemExit"), 2)


def _config(place: Place, **over: Any) -> list[str]:
    edited(place.base / "config.json", **over)
    return place.add_base()


