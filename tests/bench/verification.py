"""What verifying costs against what it stands on: the reference tool's own calls, and SHA-256 of the same bytes.

    python -m tests.bench.verification [--gib 2] [--versions 200] [--repeats 3]

Everything is measured in one run over warm files, so that the ratios hold on other machines: in this process, and for one line as
commands. Needs two idle cores and three times the file's size in the temporary folder.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from peft_registry.registry.disk.hashing import DigestCache, RunDigests, hash_files
from peft_registry.registry.homes.home import Registry, utc_now
from peft_registry.registry.identity.manifests import manifest_of_folder
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.register import register_version
from peft_registry.registry.use_cases.verify import verify_folder, verify_lineage
from peft_registry.schemas.manifest import Manifest
from tests.bench.large_adapter import PulledAdapter, pulled_large_adapter
from tests.bench.machine import folder_on_disk, machine
from tests.bench.programs import python
from tests.builders.homes import a_home, add_a_base, an_artifact
from tests.builders.lineage import register_merge

VERIFY_BAR, REGISTER_BAR, AGAIN_BAR = 1.8, 1.15, 0.05
DEEP_BAR, DEEP_MS_A_VERSION = 1.2, 15.0


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.verification")
    parser.add_argument("--gib", type=float, default=2.0, help="size of the single file")
    parser.add_argument("--versions", type=int, default=200, help="artifacts of the lineage")
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args(arguments)
    print(machine())
    with folder_on_disk() as scratch:
        a_large_file(scratch, int(chosen.gib * 2**30), chosen.repeats)
    with folder_on_disk() as scratch:
        a_long_lineage(scratch, chosen.versions, chosen.repeats)


def seconds_of(action: Callable[[], object], repeats: int) -> float:
    """Wall seconds of the quickest of several runs: what disturbs a run only makes it slower."""
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        taken.append(time.perf_counter() - started)
    return min(taken)


def a_large_file(folder: Path, size: int, repeats: int) -> None:
    """One adapter with a single large file: verified, verified again, and its digests at registration."""
    adapter = pulled_large_adapter(folder, size)
    copy, manifest = adapter.copy, adapter.manifest
    verifies = seconds_of(lambda: require_verified(copy, trust=adapter.trust, now=adapter.now), repeats)
    theirs = seconds_of(reference_verification(copy, public_key(adapter)), repeats)
    report("verify", verifies, "model_signing", theirs, theirs / verifies, f"≥ {VERIFY_BAR}")
    command = seconds_of(lambda: our_command(adapter), repeats)
    theirs = seconds_of(lambda: reference_command(adapter), repeats)
    report("command", command, "model_signing's", theirs, theirs / command, "none: the start of both is in it")
    again = seconds_of_second_verification(
        copy, folder / "digests.sqlite", repeats, trust=adapter.trust, now=adapter.now
    )
    report("again", again, "the first time", verifies, again / verifies, f"≤ {AGAIN_BAR}")

    def describe() -> Manifest:
        return manifest_of_folder(
            adapter.made, kind=manifest.kind, layout=manifest.layout, method=manifest.method, base=manifest.base
        )

    digests = seconds_of(describe, repeats)
    signs = seconds_of(reference_signature(adapter.made, folder), repeats)
    report("digests", digests, "model_signing signs", signs, digests / signs, f"≤ {REGISTER_BAR}")


def require_verified(folder: Path, **options: object) -> None:
    outcome = verify_folder(folder, **options)  # type: ignore[arg-type]  # as `verify_folder` takes them
    assert outcome.verdict == "verified", outcome


def public_key(adapter: PulledAdapter) -> Path:
    return adapter.home / "keys" / "trainer.pub"


def our_command(adapter: PulledAdapter) -> None:
    python("-m", "peft_registry.cli.main", "verify", str(adapter.copy), "--home", str(adapter.home))


def reference_command(adapter: PulledAdapter) -> None:
    signature = ("--signature", str(adapter.copy / "model.sig"), "--public_key", str(public_key(adapter)))
    python("-m", "model_signing", "verify", "key", str(adapter.copy), *signature)


def seconds_of_second_verification(pulled: Path, kept: Path, repeats: int, **options: object) -> float:
    """With the digests of a first verification, of files that were not touched since."""
    time.sleep(2.5)  # the digest of a file that was changed a moment ago is not kept
    with closing(DigestCache(kept)) as cache:

        def verify() -> None:
            with closing(RunDigests(cache)) as digests:
                require_verified(pulled, digests=digests, **options)

        verify()
        return seconds_of(verify, repeats)


def reference_verification(folder: Path, key: Path) -> Callable[[], None]:
    """The reference tool's library, as its command calls it."""
    from model_signing import hashing, verifying

    def verify() -> None:
        ignored = hashing.Config().set_ignored_paths(
            paths=[folder / "README.md", folder / "evidence", folder / "model.sig"]
        )
        config = verifying.Config().use_elliptic_key_verifier(public_key=key).set_hashing_config(ignored)
        config.verify(folder, folder / "model.sig")

    return verify


def reference_signature(folder: Path, scratch: Path) -> Callable[[], None]:
    from model_signing import hashing, signing

    secret = ec.generate_private_key(ec.SECP256R1())
    private = secret.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (scratch / "key.pem").write_bytes(private)

    def sign() -> None:
        config = signing.Config().use_elliptic_key_signer(private_key=scratch / "key.pem")
        config.set_hashing_config(hashing.Config()).sign(folder, scratch / "theirs.sig")

    return sign


def a_long_lineage(folder: Path, count: int, repeats: int) -> None:
    """A merge of many adapters of one base, each of its own bytes: `verify --deep`, against hashing the same bytes once."""
    with a_home(folder / "home", now=utc_now()) as registry:
        base = add_a_base(registry, folder / "base", mode="copy")
        sources = []
        for number in range(count - 2):
            artifact = an_artifact(folder / f"{number}", base, name=f"part-{number}", value=number / 1024)
            sources.append(register_version(registry, artifact))
        register_merge(registry, folder / "merged", base, sources, name="merged", value=0.5)
        deep = seconds_of(lambda: require_all_verified(registry, count), repeats)
        objects = [path for path in (folder / "home" / "objects").rglob("*") if path.is_file()]
        hashes = seconds_of(lambda: hash_files(objects), repeats)
    bar = DEEP_BAR * hashes + DEEP_MS_A_VERSION / 1000 * count
    print(
        f"deep         {count} versions: {deep:.2f} s, {deep / count * 1000:.1f} ms a version; hashing the unique bytes "
        f"{hashes:.2f} s  (bar {DEEP_BAR} × that + {DEEP_MS_A_VERSION:g} ms a version: {bar:.2f} s)"
    )


def require_all_verified(registry: Registry, count: int) -> None:
    outcome = verify_lineage(registry, version_named(registry, "merged"))
    assert (outcome.verdict, len(outcome.nodes)) == ("verified", count)


def report(what: str, ours: float, peer: str, theirs: float, ratio: float, bar: str) -> None:
    print(f"{what:<12} {ours:.2f} s; {peer} {theirs:.2f} s; ratio {ratio:.3f}  (bar {bar})")


if __name__ == "__main__":
    main()
