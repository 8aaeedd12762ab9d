"""What an auditor needs besides the artifact: the trust file and the public keys, for our tool and for others."""

from pathlib import Path

from peft_registry.registry.disk.files import read_file
from peft_registry.registry.disk.hashing import write_and_hash
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.signing.trust_chain import TRUST_MAX_BYTES


def export_trust(registry: Registry, folder: Path) -> tuple[Path, ...]:
    """Write `trust.json` and one `<role>-<key>.pub` a key (SPKI PEM: `openssl` and `model_signing` read it)."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"trust.json": read_file(registry.folder / "trust.json", max_bytes=TRUST_MAX_BYTES)}
    for key in registry.trust.keys:
        files[f"{key.role}-{key.key_id[:16]}.pub"] = key.public_key_pem.encode()
    for name, data in files.items():
        (folder / name).unlink(missing_ok=True)
        write_and_hash([data], folder / name, mode=0o644)
    return tuple(folder / name for name in files)
