"""Threshold, rotation, rollback, fast-forward and expiry, judged by python-tuf too: the same verdict for generated sequences.

Each sequence is a list of versions of a root role: who its roots are, how many must sign, who signed, which number, when it
expires. Both read it step by step. What python-tuf does not know (persons, the digest of the version before) is the same in all.
"""

import random
from datetime import datetime

import pytest

from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.signing.trust import TrustAnchors, current_policy, open_chain
from peft_registry.registry.signing.trust_chain import TrustChain, TrustVersion, render_chain, sign_version
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.policy import TrustPolicy
from tests.builders.signing import BEFORE, NOW, a_form_2_policy, a_p256_key

pytestmark = pytest.mark.peers

KEYS = [a_p256_key(seed) for seed in range(40, 45)]
EXPIRES = {"in time": "2027-11-01T00:00:00Z", "passed": "2026-06-01T00:00:00Z"}
SEQUENCES = 400


class Step:
    """One version, as both programs are told it."""

    def __init__(self, roots: list[PrivateKey], threshold: int, signers: list[PrivateKey], number: int, expiry: str):
        self.roots, self.threshold, self.signers, self.number, self.expiry = roots, threshold, signers, number, expiry


def a_sequence(random_: random.Random) -> list[Step]:
    """Mostly sound, and now and then with one thing wrong."""
    steps: list[Step] = []
    before: list[PrivateKey] = []
    number = 1
    for _ in range(random_.randint(1, 4)):
        roots = random_.sample(KEYS, random_.randint(1, 3))
        threshold = random_.randint(1, len(roots))
        signers = list({id(key): key for key in (*before, *roots)}.values())
        if random_.random() < 0.2:
            signers = random_.sample(signers, random_.randint(0, len(signers)))
        if random_.random() < 0.1:
            number += random_.choice([-1, 1, 5])
        steps.append(Step(roots, threshold, signers, max(1, number), random_.choice(["in time"] * 4 + ["passed"])))
        before, number = roots, number + 1
    return steps


def ours(steps: list[Step]) -> bool:
    versions: list[TrustVersion] = []
    for step in steps:
        policy: TrustPolicy = a_form_2_policy(
            roots=step.roots, threshold=step.threshold, version=step.number, expires_at=EXPIRES[step.expiry]
        )
        if versions:
            policy = policy.revised(previous=versions[-1].digest)
        assert policy.issued_at == BEFORE
        versions.append(sign_version(policy, step.signers))
    try:
        data = render_chain(TrustChain(tuple(versions)))
        current_policy(open_chain(data, anchors=TrustAnchors(file_given_by_user=True), accepted_version=None), now=NOW)
    except KnownError:
        return False
    return True


def tufs(steps: list[Step]) -> bool:
    from securesystemslib.exceptions import StorageError
    from securesystemslib.signer import CryptoSigner
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata, Root
    from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
    from tuf.ngclient.config import EnvelopeType

    signers = {id(key): CryptoSigner(key._key) for key in KEYS}
    files = []
    for step in steps:
        root = Root(version=step.number, expires=datetime.fromisoformat(EXPIRES[step.expiry]))
        for key in step.roots:
            root.add_key(signers[id(key)].public_key, "root")
        root.roles["root"].threshold = step.threshold
        metadata = Metadata(root)
        for key in step.signers:
            metadata.sign(signers[id(key)], append=True)
        files.append(metadata.to_bytes())
    try:
        trusted = TrustedMetadataSet(files[0], EnvelopeType.METADATA)
        trusted.reference_time = datetime.fromisoformat(NOW)
        for data in files[1:]:
            trusted.update_root(data)
        # what comes after the last root is where python-tuf refuses one that has expired
        if trusted.root.is_expired(trusted.reference_time):
            return False
    except (RepositoryError, StorageError, ValueError):
        return False
    return True


@pytest.mark.parametrize("seed", range(4))
def test_every_sequence_of_roots_gets_the_verdict_of_python_tuf(seed: int) -> None:
    random_ = random.Random(seed)
    verdicts = []
    for _ in range(SEQUENCES // 4):
        steps = a_sequence(random_)
        verdict = ours(steps)
        assert verdict == tufs(steps), [(step.number, step.threshold, step.expiry) for step in steps]
        verdicts.append(verdict)
    # an oracle that says the same every time would show nothing
    assert 0.2 < sum(verdicts) / len(verdicts) < 0.8
