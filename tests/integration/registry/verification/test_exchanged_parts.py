"""Parts of good folders in the wrong place, and other forms of the same signature: each is validly signed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.references import version_named
from peft_registry.registry.signing import dsse, strict_base64
from peft_registry.registry.signing.dsse import Envelope, EnvelopeSignature
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.verify import verify_folder
from peft_registry.schemas.version import VerifyOutcome
from tests.builders.homes import NOW, a_home, register_adapter

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
STATEMENTS = "evidence/statements.intoto.jsonl"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of one name, pulled: `1` and `2`; the home beside them."""
    folder = tmp_path_factory.mktemp("made")
    with a_home(folder / "home") as registry:
        for number, value in enumerate((0.25, 0.5), start=1):
            register_adapter(registry, folder, value=value)
            pull_version(registry, version_named(registry, f"helper:{number}"), folder / f"{number}")
    return folder


@pytest.fixture
def folders(made: Path, tmp_path: Path) -> Path:
    for number in ("1", "2"):
        shutil.copytree(made / number, tmp_path / number)
    return tmp_path


@pytest.fixture
def check(made: Path) -> Callable[[Path], VerifyOutcome]:
    from tests.builders.homes import reopened

    def outcome(folder: Path) -> VerifyOutcome:
        registry: Registry = reopened(made / "home")
        try:
            return verify_folder(folder, trust=registry.trust, now=NOW)
        finally:
            registry.close()

    return outcome


@pytest.mark.parametrize(
    "parts",
    [
        ("model.sig",),
        ("manifest.json",),
        ("adapter_model.safetensors",),
        ("model.sig", "manifest.json"),
        ("model.sig", "manifest.json", "adapter_model.safetensors"),
        ("evidence",),
        (STATEMENTS,),
        ("evidence/log.tlog-proof",),
        ("evidence/complete.tlog-proof",),
    ],
    ids=" and ".join,
)
def test_the_parts_of_another_version_by_the_same_key_are_broken(
    folders: Path, check: Callable[[Path], VerifyOutcome], parts: tuple[str, ...]
) -> None:
    for part in parts:
        source, target = folders / "1" / part, folders / "2" / part
        if source.is_dir():
            shutil.rmtree(target)
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
    assert check(folders / "1").exit_code == 0
    assert check(folders / "2").exit_code == 6


def twin(signature: bytes) -> bytes:
    """The other signature that ECDSA accepts for the same bytes: (r, n − s)."""
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, P256_ORDER - s)


def with_twin(envelope: Envelope) -> Envelope:
    (signature,) = envelope.signatures
    return Envelope(envelope.payload_type, envelope.payload, (EnvelopeSignature(twin(signature.sig)),))


def test_the_twin_of_a_signature_changes_no_verdict_and_adds_no_statement(
    folders: Path, check: Callable[[Path], VerifyOutcome]
) -> None:
    folder = folders / "1"
    before = check(folder)
    lines = (folder / STATEMENTS).read_bytes().splitlines()
    twins = [with_twin(Envelope.parse(line)).render() for line in lines]
    assert not set(twins) & set(lines)
    (folder / STATEMENTS).write_bytes(b"\n".join([*lines, *twins]) + b"\n")
    assert check(folder) == before, "each statement twice, once by its twin"
    (folder / STATEMENTS).write_bytes(b"\n".join(twins) + b"\n")
    assert check(folder) == before, "the twins alone"
    bundle = json.loads((folder / "model.sig").read_bytes())
    entry = bundle["dsseEnvelope"]["signatures"][0]
    entry["sig"] = strict_base64.encode(twin(strict_base64.decode(entry["sig"], what="a signature")))
    (folder / "model.sig").write_text(json.dumps(bundle))
    assert check(folder) == before, "model.sig by its twin too"


def test_the_twin_is_a_signature_by_the_same_key(made: Path) -> None:
    """Otherwise the test above would show nothing."""
    line = (made / "1" / STATEMENTS).read_bytes().splitlines()[0]
    with_it = with_twin(Envelope.parse(line))
    from tests.builders.homes import reopened

    registry = reopened(made / "home")
    try:
        assert dsse.verify(with_it, (*registry.log_keys, registry.trainer_key.public)) == registry.trainer_key.public
    finally:
        registry.close()
