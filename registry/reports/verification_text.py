"""How a reader checks a version: with this tool, with the reference tool of the signature format, and with openssl alone."""

from peft_registry.schemas.manifest import FILE_NAME, SIGNATURE_NAME
from peft_registry.schemas.version import Version


def how_to_verify(version: Version) -> tuple[str, ...]:
    """Command lines for a shell; lines that start with `#` are remarks. Names in capitals are the reader's own."""
    return (
        "# 1. With this tool: signature, trust, files, tensors, statements, log",
        f"registry pull {version.label} FOLDER",
        "registry verify FOLDER --trust TRUST_FILE",
        "# 2. The signature over all files, with the reference tool of OpenSSF Model Signing",
        f"model_signing verify key FOLDER --signature FOLDER/{SIGNATURE_NAME} --public_key KEY.pub",
        "# 3. With openssl and Python's standard library: the manifest is the one that this report is about …",
        f"openssl dgst -sha256 FOLDER/{FILE_NAME}",
        f"#    must print {version.manifest_digest.hex}",
        "#    … and the signature is good: write the signed bytes (DSSE) and the signature, then check them",
        f"python3 -c '{_UNPACK}' FOLDER/{SIGNATURE_NAME}",
        "openssl dgst -sha256 -verify KEY.pub -signature signature.der signed.bin",
    )


# writes the pre-authentication encoding of the envelope and its first signature beside the caller
_UNPACK = (
    'import base64,json,sys; e=json.load(open(sys.argv[1]))["dsseEnvelope"]; t=e["payloadType"].encode(); '
    'p=base64.b64decode(e["payload"]); '
    'open("signed.bin","wb").write(b"DSSEv1 %d %s %d %s" % (len(t),t,len(p),p)); '
    'open("signature.der","wb").write(base64.b64decode(e["signatures"][0]["sig"]))'
)
