"""Which files may be attached to a version: by what they are called and by what they hold."""

import io
import unicodedata
import zipfile

import pytest

from peft_registry.registry.intake.attachments import AttachmentNameRefused, AttachmentRefused, require_attachable
from peft_registry.registry.intake.secrets import SecretRefused


def an_office_file(*members: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for member in members:
            archive.writestr(member, "x")
    return data.getvalue()


TAKEN = {
    "IFU-2.1.pdf": b"%PDF-1.7\n1 0 obj << /Type /Catalog /JS1 0 R >>",
    "Gebrauchsanweisung für Ärzte (Entwurf).txt": "größer als 3".encode(),
    "οδηγίες.md": b"# <script>alert(1)</script> is text in a text",
    "plan.docx": an_office_file("word/document.xml"),
    "plan.odt": an_office_file("content.xml"),
    "screen.PNG": b"\x89PNG\r\n\x1a\n...",
    "limits.yml": b"a: 1\n",
}
NAMES_REFUSED = (
    *(
        "<script>alert(1)</script>.pdf",
        "=cmd().pdf",
        "+1.pdf",
        "@x.pdf",
        "-rf.pdf",
        ".hidden.pdf",
        "a/b.pdf",
        "..\\b.pdf",
    ),
    *(
        "evil\u202efdp.pdf",
        "a\u200bb.pdf",
        "a\nb.pdf",
        "a\tb.pdf",
        "a\x00.pdf",
        '"a".pdf',
        "a%2e.pdf",
        "",
        "\u2066a.pdf",
    ),
    "ä" * 117 + ".pdf",
    unicodedata.normalize("NFD", "für.pdf"),
)
REFUSED = {
    "page.html": b"<p>",
    "picture.svg": b"<svg/>",
    "table.csv": b"=cmd()",
    "sheet.xlsx": an_office_file("xl/workbook.xml"),
    "macro.docm": an_office_file("word/document.xml"),
    "run.sh": b"echo",
    "no suffix": b"text",
    "text.pdf": b"<html><script>alert(1)</script></html>",
    "script.pdf": b"%PDF-1.7\n<< /S /JavaScript /JS (app.alert(1)) >>",
    "launch.pdf": b"%PDF-1.7\n<< /S /Launch /F (cmd.exe) >>",
    "macros.docx": an_office_file("word/document.xml", "word/vbaProject.bin"),
    "macros.odt": an_office_file("content.xml", "Basic/Standard/Module1.xml"),
    "broken.docx": b"PK\x03\x04 and nothing more",
    "latin.txt": "für".encode("latin-1"),
    "control.txt": b"\x1b[2J",
    "page.png": b"<html>",
    "page.jpg": b"<html>",
}  # fmt: skip


def test_a_document_a_text_and_a_picture_are_taken() -> None:
    for name, data in TAKEN.items():
        require_attachable(name, name, data)


def test_a_name_that_is_another_on_some_screen_or_means_something_to_a_program_is_refused() -> None:
    for name in NAMES_REFUSED:
        with pytest.raises(AttachmentNameRefused) as refused:
            require_attachable(f"/home/alex/{name}", name, b"%PDF-1.7")
        assert ascii(name) in refused.value.what
        assert refused.value.fix.startswith("rename the file")


def test_what_may_hold_code_or_is_not_what_it_is_called_is_refused() -> None:
    for name, data in REFUSED.items():
        with pytest.raises(AttachmentRefused) as refused:
            require_attachable(f"/home/alex/{name}", name, data)
        assert refused.value.what == f"/home/alex/{name} is not attached"
        assert refused.value.fix.startswith("save it as PDF")


def test_a_text_that_looks_like_a_secret_is_refused() -> None:
    with pytest.raises(SecretRefused):
        require_attachable("a.txt", "a.txt", b"token = hf_" + b"a" * 34)
