"""Our own pages: they say what the registry says now and run nothing, and a hostile path is only a page that is not there."""

import re
import shutil
from collections.abc import Iterator
from contextlib import closing, nullcontext
from html.parser import HTMLParser
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow.pages import PageResponse, answer
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.reports.pages import style_source
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.schemas.version import Version
from tests.builders.homes import a_home, add_a_base, reopened
from tests.builders.products import FACTS, a_product


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, Version]]:
    folder = tmp_path_factory.mktemp("made")
    with a_home(folder / "home") as registry:
        base = add_a_base(registry, folder / "base")
        yield (
            registry,
            register_product(registry, a_product(registry, folder / "1", base, name="sums", facts=FACTS)).version,
        )


def page(made: tuple[Registry, Version], path: str) -> PageResponse:
    return answer(path, lambda: nullcontext(made[0]))


class Tags(HTMLParser):
    """Every start tag of a page with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


PATHS = ("", "sums/1", "sums/1/lineage", "sums/1/report", "sums/1/decisions", "tiny/1/decisions")


@pytest.mark.parametrize("path", PATHS)
def test_a_page_has_no_script_and_nothing_from_elsewhere_and_the_list_alone_a_form(
    made: tuple[Registry, Version], path: str
) -> None:
    shown = page(made, path)
    assert shown.status == 200
    tags = Tags(shown.html).found
    forbidden = {"script", "iframe", "img", "object", "link", "base"} | ({"form", "input"} if path else set())
    assert not {tag for tag, _ in tags} & forbidden
    for _, attributes in tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "src")]
        assert re.match(r"(#|/(?!/)|$)", attributes.get("href") or "")
    policy = shown.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert {
        "default-src 'none'",
        "form-action 'none'" if path else "form-action 'self'",
        "frame-ancestors 'none'",
        f"style-src {style_source(shown.html)}",
    } <= set(policy.split("; "))
    assert "sandbox" in policy
    assert "allow-scripts" not in policy
    assert "allow-same-origin" not in policy


def test_verification_is_made_anew_when_the_page_is_opened(made: tuple[Registry, Version], tmp_path: Path) -> None:
    shutil.copytree(made[0].folder, tmp_path / "home")
    with closing(reopened(tmp_path / "home")) as registry:
        whole = answer("sums/1", lambda: nullcontext(registry))
        assert "✓ verified" in whole.html
        (entry,) = stored(registry, made[1])
        data = bytearray(entry.read_bytes())
        data[-1] ^= 1
        entry.chmod(0o644)
        entry.write_bytes(data)
        broken = answer("sums/1", lambda: nullcontext(registry))
        report = answer("sums/1/report", lambda: nullcontext(registry))
    assert "✗ broken" in broken.html
    assert "✓ verified" not in broken.html
    assert "✗ broken" in report.html


def stored(registry: Registry, version: Version) -> list[Path]:
    """The object of the adapter's weights."""
    manifest = stored_manifest(registry, version.manifest_digest)
    (weights,) = [file for file in manifest.files if file.path.endswith(".safetensors")]
    return [
        path
        for path in registry.folder.rglob("*")
        if path.is_file() and weights.sha256.hex in str(path).replace("/", "")
    ]


def test_lineage_is_drawn_and_every_artifact_of_it_is_a_link(made: tuple[Registry, Version]) -> None:
    shown = page(made, "sums/1/lineage").html
    assert "<svg" in shown
    for link in ("/registry/sums/1", "/registry/tiny/1", "/#/models/tiny/versions/1"):
        assert f'href="{link}"' in shown


def test_the_list_leads_to_every_version(made: tuple[Registry, Version]) -> None:
    assert {"/registry/sums/1", "/registry/tiny/1"} <= {
        attributes.get("href") for tag, attributes in Tags(page(made, "").html).found if tag == "a"
    }


def test_the_list_shows_loss_bias_alias_and_gate_and_is_searched(made: tuple[Registry, Version]) -> None:
    shown = page(made, "").html
    for text in ("2.412 → 1.871", "not evaluated", "Held-out loss", "Aliases and their gates"):
        assert text in shown

    def found(**asked: str) -> list[str]:
        links = Tags(answer("", lambda: nullcontext(made[0]), asked=asked).html).found
        return [str(attributes["href"]) for tag, attributes in links if (attributes.get("href") or "").endswith("/1")][
            ::2
        ]

    assert found(where="kind=base") == ["/registry/tiny/1"]
    assert found(sort="-registered") == ["/registry/tiny/1", "/registry/sums/1"], "at one time, so by name"
    assert found(where="kind=adapter method=lora", sort="-registered") == ["/registry/sums/1"]
    assert found(where="alias=champion") == []


@pytest.mark.parametrize(
    "where", ["<script>alert(1)</script>", "loss<3", "kind=base, alias=champion", "signer=nobody", "a" * 9999]
)
def test_a_search_that_cannot_be_read_is_said_and_not_repeated(made: tuple[Registry, Version], where: str) -> None:
    shown = answer("", lambda: nullcontext(made[0]), asked={"where": where})
    assert shown.status in (200, 400)
    assert "alert(1)" not in shown.html
    assert answer("", lambda: nullcontext(made[0]), asked={"cursor": where}).status == 400


HOSTILE = (
    "<script>alert(1)</script>/1",
    "sums/1/<img src=x onerror=alert(1)>",
    "../../etc/passwd",
    "sums/../../1",
    "sums/1;drop table versions",
    "sums/'; drop table versions; --",
    "sums/1\n/report",
    "sums/\x00",
    "sums/999999999999999999999",
    "sums/0",
    "sums/1/report/report",
    "sums@champion",
    "sums",
    "{{7*7}}/1",
    "%s/1",
    "sums/１",
    "a" * 100_000 + "/1",
    "/".join("a" * 1_000),
)


@pytest.mark.parametrize("path", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_path_is_a_page_that_is_not_there_and_is_not_shown(made: tuple[Registry, Version], path: str) -> None:
    shown = page(made, path)
    assert shown.status == 404
    assert len(shown.html) < 20_000
    for text in ("alert(1)", "drop table", "etc/passwd", "{{", "49"):
        assert text not in shown.html.partition("</style>")[2]


def test_a_version_that_is_not_there_and_a_home_that_is_not_there_are_said(
    made: tuple[Registry, Version], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert page(made, "sums/7").status == 404
    monkeypatch.setenv("REGISTRY_HOME", str(tmp_path / "nowhere"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    gone = answer("sums/1")
    assert gone.status in (404, 503)
    assert "<h1>" in gone.html
