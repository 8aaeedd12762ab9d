"""OMS bundles: the exact profile that is written, strict reading, and verdicts that accuse only with a reason."""

import base64
import hashlib
import json

import pytest

from peft_registry.registry.signing import dsse, oms
from peft_registry.registry.signing.oms import Resource, parse_bundle, require_ignore_paths, verify_bundle
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import PAYLOAD_TYPE
from tests.builders.signing import a_bundle, a_p256_key, an_ed25519_key, some_resources

LAB, STRANGER = a_p256_key(1), a_p256_key(2)


def statement_of(data: bytes) -> dict:
    return json.loads(base64.b64decode(json.loads(data)["dsseEnvelope"]["payload"]))


def resigned(statement: object, **bundle_changes) -> bytes:
    """A bundle over any statement, properly signed: only its contents can be wrong."""
    payload = statement if isinstance(statement, bytes) else json.dumps(statement).encode()
    envelope = dsse.sign(LAB, PAYLOAD_TYPE, payload)
    bundle = {
        "mediaType": oms.MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": LAB.public.key_id}, "tlogEntries": []},
        "dsseEnvelope": envelope.to_json(),
    }
    return json.dumps({**bundle, **bundle_changes}).encode()


def with_predicate(**changes) -> dict:
    statement = statement_of(a_bundle())
    statement["predicate"].update(changes)
    return statement


def with_serialization(**changes) -> dict:
    statement = statement_of(a_bundle())
    statement["predicate"]["serialization"].update(changes)
    return statement


def with_resources(*entries: dict) -> dict:
    """The root digest follows, so that only the entries can be the reason."""
    root = hashlib.sha256(b"".join(bytes.fromhex(entry["digest"]) for entry in entries)).hexdigest()
    statement = with_predicate(resources=list(entries))
    statement["subject"][0]["digest"]["sha256"] = root
    return statement


def entry(name: str = "a", digest: str = "ab" * 32, algorithm: str = "sha256") -> dict:
    return {"name": name, "digest": digest, "algorithm": algorithm}


# --- writing


def test_a_bundle_verifies_and_says_what_was_listed():
    bundle = parse_bundle(a_bundle(LAB))
    assert verify_bundle(bundle, [STRANGER.public, LAB.public]) == LAB.public
    assert bundle.resources == some_resources()
    assert bundle.model_name == "tutor"
    assert bundle.hint == LAB.public.key_id
    require_ignore_paths(bundle, ("README.md", "evidence"))


def test_the_statement_is_the_one_of_the_specification():
    statement = statement_of(a_bundle(resources=(Resource("a", Digest("ab" * 32)),)))
    assert statement == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "tutor", "digest": {"sha256": hashlib.sha256(b"\xab" * 32).hexdigest()}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "resources": [{"name": "a", "algorithm": "sha256", "digest": "ab" * 32}],
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": ["README.md", "evidence"],
            },
        },
    }


def test_equal_listings_give_equal_bytes_whatever_their_order():
    forward = some_resources("b", "a/z", "a")
    assert a_bundle(resources=forward) == a_bundle(resources=tuple(reversed(forward)))


def test_names_are_ordered_by_code_points_of_the_whole_path():
    bundle = parse_bundle(a_bundle(resources=some_resources("adapter/x", "adapter-x/y", "Z", "é", "a")))
    assert [one.name for one in bundle.resources] == ["Z", "a", "adapter-x/y", "adapter/x", "é"]


def test_renaming_a_file_changes_the_payload_digest_but_not_the_root():
    one, other = (parse_bundle(a_bundle(resources=(Resource(name, Digest("ab" * 32)),))) for name in ("a", "b"))
    assert one.root == other.root
    assert one.payload_digest != other.payload_digest


@pytest.mark.parametrize(
    "names",
    [("/a",), ("a/../b",), ("a//b",), ("./a",), ("a/",), ("a\\b",), ("a\nb",), ("..",)],
    ids=repr,
)
def test_unsafe_names_are_not_signed(names):
    with pytest.raises(oms.UnsignableListing) as caught:
        a_bundle(resources=some_resources(*names))
    assert caught.value.exit_code == 2


def test_an_empty_or_doubled_listing_or_another_kind_of_key_is_not_signed():
    with pytest.raises(oms.UnsignableListing):
        a_bundle(resources=())
    with pytest.raises(oms.UnsignableListing):
        a_bundle(resources=some_resources("a", "a"))
    with pytest.raises(oms.UnsignableListing):
        a_bundle(an_ed25519_key())


# --- who signed


def test_a_stranger_is_unknown_and_not_accused():
    bundle = parse_bundle(a_bundle(STRANGER))
    for trusted in ([], [LAB.public]):
        with pytest.raises(dsse.UnknownKey) as caught:
            verify_bundle(bundle, trusted)
        assert caught.value.exit_code == 5


def test_a_trusted_key_named_for_what_it_did_not_sign_is_broken():
    data = a_bundle(STRANGER).replace(STRANGER.public.key_id.encode(), LAB.public.key_id.encode())
    with pytest.raises(dsse.BadSignature) as caught:
        verify_bundle(parse_bundle(data), [LAB.public])
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("hint", [STRANGER.public.key_id, "0" * 64], ids=["another trusted key", "nobody"])
def test_a_good_signature_under_a_wrong_hint_is_broken(hint):
    data = a_bundle(LAB).replace(LAB.public.key_id.encode(), hint.encode())
    with pytest.raises(dsse.WrongSigner) as caught:
        verify_bundle(parse_bundle(data), [LAB.public, STRANGER.public])
    assert caught.value.exit_code == 6


def test_an_ed25519_signature_is_outside_oms_even_by_a_trusted_key():
    key = an_ed25519_key()
    envelope = dsse.sign(key, PAYLOAD_TYPE, json.dumps(statement_of(a_bundle())).encode())
    material = {"publicKey": {"hint": key.public.key_id}}
    data = json.dumps(
        {"mediaType": oms.MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope.to_json()}
    ).encode()
    with pytest.raises(oms.MalformedBundle):
        verify_bundle(parse_bundle(data), [key.public])


def test_every_single_flipped_bit_of_a_trusted_signature_file_is_broken():
    good = a_bundle(LAB)
    passed = []
    for position in range(len(good) * 8):
        data = bytearray(good)
        data[position // 8] ^= 1 << position % 8
        try:
            verify_bundle(parse_bundle(bytes(data)), [LAB.public])
            passed.append(position)
        except IntegrityBroken:
            continue
    assert not passed


@pytest.mark.parametrize(
    "found", [(), ("README.md",), ("README.md", "evidence", "adapter_model.safetensors"), ("README.md", "weights")]
)
def test_other_ignored_paths_than_the_allowed_ones_are_refused(found):
    with pytest.raises(oms.UnexpectedIgnorePaths) as caught:
        require_ignore_paths(parse_bundle(a_bundle(ignore_paths=found)), ("README.md", "evidence"))
    assert caught.value.exit_code == 6


# --- strict reading

MALFORMED = {
    "unknown statement field": {**statement_of(a_bundle()), "extra": 1},
    "unknown predicate field": with_predicate(extra=1),
    "unknown serialization field": with_serialization(shard_size=1),
    "other statement type": {**statement_of(a_bundle()), "_type": "https://in-toto.io/Statement/v0.1"},
    "other predicate type": {**statement_of(a_bundle()), "predicateType": "https://example.com/v1"},
    "two subjects": {**statement_of(a_bundle()), "subject": statement_of(a_bundle())["subject"] * 2},
    "no subject": {**statement_of(a_bundle()), "subject": []},
    "wrong root": {**statement_of(a_bundle()), "subject": [{"name": "tutor", "digest": {"sha256": "ab" * 32}}]},
    "no file": with_resources(),
    "a file twice": with_resources(entry(), entry()),
    "upper-case digest": with_resources(entry(digest="AB" * 32)),
    "short digest": with_resources(entry(digest="ab" * 16)),
    "other algorithm in one entry": with_resources(entry(algorithm="sha512")),
    "name missing": with_predicate(resources=[{"digest": "ab" * 32, "algorithm": "sha256"}]),
    "parent folder": with_resources(entry("../a")),
    "absolute path": with_resources(entry("/a")),
    "the folder itself": with_resources(entry(".")),
    "links allowed": with_serialization(allow_symlinks=True),
    "links allowed as a number": with_serialization(allow_symlinks=0),
    "everything ignored": with_serialization(ignore_paths=["."]),
    "ignored path doubled": with_serialization(ignore_paths=["evidence", "evidence"]),
    "other method": with_serialization(method="file"),
    "duplicate key": json.dumps(statement_of(a_bundle())).encode()[:-1] + b', "_type": "x"}',
    "not an object": [1],
}


@pytest.mark.parametrize("name", list(MALFORMED))
def test_a_signed_but_irregular_statement_is_broken(name):
    with pytest.raises(oms.MalformedBundle) as caught:
        parse_bundle(resigned(MALFORMED[name]))
    assert caught.value.exit_code == 6


PLAIN = statement_of(a_bundle())
IRREGULAR_BUNDLES = {
    "unknown field": resigned(PLAIN, extra=1),
    "later media type": resigned(PLAIN, mediaType="application/vnd.dev.sigstore.bundle.v0.9+json"),
    "log entries": resigned(
        PLAIN, verificationMaterial={"publicKey": {"hint": LAB.public.key_id}, "tlogEntries": [{}]}
    ),
    "no hint": resigned(PLAIN, verificationMaterial={"publicKey": {}}),
    "upper-case hint": resigned(PLAIN, verificationMaterial={"publicKey": {"hint": LAB.public.key_id.upper()}}),
    "other payload type": resigned(PLAIN, dsseEnvelope=dsse.sign(LAB, "text/plain", b"{}").to_json()),
    "duplicate key": resigned(PLAIN)[:-1] + b', "mediaType": "x"}',
    "byte order mark": b"\xef\xbb\xbf" + resigned(PLAIN),
}


@pytest.mark.parametrize("name", list(IRREGULAR_BUNDLES))
def test_an_irregular_bundle_is_broken(name):
    with pytest.raises(oms.MalformedBundle):
        parse_bundle(IRREGULAR_BUNDLES[name])


@pytest.mark.parametrize(
    "statement",
    [
        with_serialization(method="shards", shard_size=1000),
        with_serialization(hash_type="blake3"),
        {**PLAIN, "predicateType": "https://model_signing/Digests/v0.1"},
    ],
    ids=["shards", "blake3", "release 0.2"],
)
def test_well_known_other_profiles_are_unsupported_and_not_broken(statement):
    with pytest.raises(oms.UnsupportedBundle) as caught:
        parse_bundle(resigned(statement))
    assert caught.value.exit_code == 5


def test_a_listing_in_another_order_is_read_as_long_as_the_root_follows_it():
    bundle = parse_bundle(resigned(with_resources(entry("b", "01" * 32), entry("a", "02" * 32))))
    assert [one.name for one in bundle.resources] == ["b", "a"]


# --- vectors of others


def test_the_valid_key_bundle_of_the_specification_is_read(test_data):
    data = (test_data / "vectors" / "oms" / "spec" / "valid" / "key.bundle.json").read_bytes()
    bundle = parse_bundle(data)
    assert [one.name for one in bundle.resources] == ["signme-1", "signme-2"]
    assert "ignore-me" in bundle.ignore_paths
    with pytest.raises(dsse.UnknownKey):
        verify_bundle(bundle, [LAB.public])


@pytest.mark.parametrize("folder", ["invalid", "invalid-payload"])
def test_every_invalid_bundle_of_the_specification_is_broken(test_data, folder):
    files = sorted((test_data / "vectors" / "oms" / "spec" / folder).iterdir())
    assert files
    for file in files:
        with pytest.raises(oms.MalformedBundle):
            parse_bundle(file.read_bytes())


def test_bundles_of_other_methods_are_refused_clearly(test_data):
    vectors = test_data / "vectors"
    files = [vectors / "oms/spec/valid/certificate.bundle.json", *sorted(vectors.glob("sigstore/*/*.json"))]
    files += [vectors / "oms/history" / name / "model.sig" for name in ("v0.3.1-elliptic-key", "v1.0.1-elliptic-key")]
    assert len(files) == 6
    for file in files:
        with pytest.raises(oms.UnsupportedBundle) as caught:
            parse_bundle(file.read_bytes())
        assert caught.value.why.startswith("it is ")
