"""A file that somebody attaches to a version, before it is signed: only forms that a reader opens without running anything. Pure.

What is attached is kept for ever and handed to people who trust it. So its name is one that is itself on every screen and in every
file system, and its content is of a form that holds no code: a script in a PDF is found where it is written plainly, which is no
proof that there is none. Word and LibreOffice run no macros in documents of the forms that are taken.
"""

import io
import re
import unicodedata
import zipfile
from collections.abc import Callable, Mapping

from peft_registry.registry.intake.secrets import require_no_secrets
from peft_registry.schemas.errors import InputRefused

MAX_BYTES = 64 << 20  # what the store reads at once, and an audit
_MAX_NAME = 120  # characters
# letters of any script and digits first, so that no name is an option, a formula of a spreadsheet or a hidden file
_NAME = re.compile(r"[^\W_][\w .,()+-]*")
_CODE_IN_PDF = re.compile(rb"/(JavaScript|Launch)\b")
_MACROS = re.compile(r"(vbaProject\.bin$|^Basic/|^Scripts/)", re.IGNORECASE)


class AttachmentNameRefused(InputRefused):
    what = "{name!a} is not attached under this name"
    why = "{reason}"
    fix = "rename the file, and attach it again; nothing was signed"

    name: str
    reason: str


class AttachmentRefused(InputRefused):
    what = "{path} is not attached"
    why = "{reason}"
    fix = "save it as PDF, plain text, a picture or a document without macros ({forms}), and attach that; nothing was signed"

    path: str
    reason: str

    @property
    def forms(self) -> str:
        return " ".join(_FORMS)


def require_attachable(path: str, name: str, data: bytes) -> None:
    """Raise unless a file may be attached.

    Args:
        path: as it was typed.
        name: of the file.
        data: its bytes.

    Raises:
        AttachmentNameRefused: the name is another on some screen, or means something to a program.
        AttachmentRefused: it is of no form that is taken, is not what its name says, or holds code.
        SecretRefused: a text in it looks like a secret.
    """
    reason = _objection_to_name(name)
    if reason:
        raise AttachmentNameRefused(name, reason)
    suffix = _suffix(name)
    objection = _FORMS.get(suffix)
    if objection is None:
        raise AttachmentRefused(
            path, f"files of the form {suffix or 'without a suffix'} are not taken: they may hold code"
        )
    reason = objection(data)
    if reason:
        raise AttachmentRefused(path, reason)
    if objection is _text:
        require_no_secrets(data.decode(), what=path)


def _suffix(name: str) -> str:
    return f".{name.rpartition('.')[2].lower()}" if "." in name else ""


def _objection_to_name(name: str) -> str:
    if len(name) > _MAX_NAME:
        return f"it has {len(name)} characters, and {_MAX_NAME} are allowed"
    if not _NAME.fullmatch(name):
        return "letters, digits, spaces and . , ( ) + - _ may stand in it, a letter or a digit first"
    if unicodedata.normalize("NFC", name) != name:
        return "its letters are written in parts, which other systems put together"
    return ""


def _pdf(data: bytes) -> str:
    if not data.startswith(b"%PDF-"):
        return "it is called a PDF, and does not begin as one"
    return "it holds a script or starts a program" if _CODE_IN_PDF.search(data) else ""


def _text(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return "it is called a text, and is not UTF-8"
    return "it is called a text, and holds control characters" if re.search("[\x00-\x08\x0e-\x1f\x7f]", text) else ""


def _office(data: bytes) -> str:
    try:
        names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return "it is called a document, and cannot be opened as one"
    return "it holds macros" if any(_MACROS.search(name) for name in names) else ""


def _begins(magic: bytes) -> Callable[[bytes], str]:
    def objection(data: bytes) -> str:
        return "" if data.startswith(magic) else "it is called a picture, and does not begin as one"

    return objection


# by suffix, what speaks against such a file; empty for nothing
_FORMS: Mapping[str, Callable[[bytes], str]] = {
    ".pdf": _pdf,
    ".docx": _office,
    ".odt": _office,
    ".txt": _text,
    ".md": _text,
    ".json": _text,
    ".yml": _text,
    ".yaml": _text,
    ".png": _begins(b"\x89PNG\r\n\x1a\n"),
    ".jpg": _begins(b"\xff\xd8\xff"),
    ".jpeg": _begins(b"\xff\xd8\xff"),
}
