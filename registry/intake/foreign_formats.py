"""What a file named as safetensors is instead, told by its first bytes, so that an error can say so.

Nothing here decides what may enter; a file that is not a sound safetensors file is refused with or without a name.
"""

# first bytes and what they belong to; text is compared in lower case after white space
_MAGIC = (
    (b"GGUF", "a GGUF file"),
    (b"PK\x03\x04", "a zip archive, as torch.save writes it"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes it"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x28\xb5\x2f\xfd", "a zstandard archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x7fELF", "a program"),
)
_TEXT = (
    (
        b"version https://git-lfs.github.com/spec/",
        "a Git LFS pointer, which stands for a large file that was not fetched",
    ),
    (b"<!doctype html", "an HTML page, such as a server sends in place of a file"),
    (b"<html", "an HTML page, such as a server sends in place of a file"),
    (b"<?xml", "an XML page, such as a storage service sends in place of a file"),
    (b"{", "a JSON text"),
)
HEAD_BYTES = 264  # up to the mark of a tar archive
_TAR_MARK = slice(257, 262)


def foreign_format(head: bytes) -> str | None:
    """A name for what begins with these bytes (`HEAD_BYTES` of them, fewer if it is shorter), or None."""
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for beginning, name in _TEXT:
        if text.startswith(beginning):
            return name
    if len(head) > 1 and head[0] == 0x80 and head[1] in range(2, 6):
        return "a pickle"
    return "a tar archive" if head[_TAR_MARK] == b"ustar" else None
