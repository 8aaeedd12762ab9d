"""Names that are typed."""

from collections.abc import Iterator

from tests.builders.hostile.place import Case


def typed_names() -> Iterator[Case]:
    names = {
        "parent": "../tiny",
        "absolute": "/etc/passwd",
        "empty": "",
        "upper-case": "TINY",
        "newline": "ti\nny",
        "escape": "ti\x1b[31mny",
        "right-to-left": "ti\u202eny",
        "256-characters": "t" * 256,
        "semicolon": "tiny;drop",
        "quote": "tiny' OR '1'='1",
        "percent": "tin%",
        "template": "{{7*7}}",
        "number-0": "tiny:0",
        "number-of-30-digits": "tiny:" + "9" * 30,
        "negative-number": "tiny:-1",
        "two-aliases": "tiny@a@b",
        "short-digest": "sha256:abc",
    }
    for name, text in names.items():
        yield Case("name", f"shown-{name}", lambda place, text=text: place.in_home("show", text), 2)  # type: ignore[misc]
    for name in ("latest", "v3", "7", "a/b", "", "x" * 64):
        yield Case(
            "name",
            f"alias-{name[:8] or 'empty'}",
            lambda place, name=name: place.in_home("promote", "helper:1", name, "--policy", "none"),
            2,
        )  # type: ignore[misc]
