"""Writing a page where its reader asked for it."""

from pathlib import Path


def write_page(path: Path, page: bytes) -> None:
    """Write a page: atomically, but into a pipe or a device as it is.

    Raises:
        DiskFull, NotWritable: about the path.
    """
    from peft_registry.registry.disk.files import unwritable, write_atomically

    if path.is_file() or not path.exists():
        write_atomically(path, page)
        return
    try:
        path.write_bytes(page)  # a pipe or a device, which must not be replaced by a file
    except OSError as error:
        raise unwritable(path, error) from error
