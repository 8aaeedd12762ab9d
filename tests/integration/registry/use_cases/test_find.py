"""Versions by what was signed about them: written with a registration or a later statement, filled by an upgrade, held on pages."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import peft_registry
from peft_registry.cli.main import run
from peft_registry.registry.database import catalog
from peft_registry.registry.database.failures import RowDamaged
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.where import read_query
from peft_registry.registry.records.facets import FACETS_FORM, facets_form
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.fill_facets import fill_facets
from peft_registry.registry.use_cases.find import (
    CursorInvalid,
    FacetsMissing,
    FigureUnknown,
    SignerNotListed,
    find_versions,
    known_figures,
)
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.schemas.errors import IntegrityBroken, NotFound
from peft_registry.schemas.evaluation import ComparedTexts, LeakageCheck, LeakedItems
from peft_registry.schemas.identity import Digest
from tests.builders.backends import BACKENDS, MadeHome, make_on
from tests.builders.evaluation import a_recorded_evaluation
from tests.builders.homes import add_a_base
from tests.builders.products import FACTS, a_product


def fill(registry: Registry, folder: Path) -> None:
    base = add_a_base(registry, folder / "base")
    for number, name in enumerate(("sums", "other")):
        product = a_product(
            registry,
            folder / name,
            base,
            name=name,
            run_id=name,
            facts=FACTS,
            value=0.25 * (number + 1),
            project="support-bot",
        )
        set_alias(registry, register_product(registry, product).version, ("champion", "candidate")[number])


@pytest.fixture(scope="module", params=BACKENDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill)


@pytest.fixture
def home(made: MadeHome, tmp_path: Path) -> MadeHome:
    return made.copy(tmp_path / "home")


@pytest.fixture
def opened() -> Iterator[Callable[[MadeHome], Registry]]:
    """Opens homes, and closes them after the test."""
    with ExitStack() as closing:

        def open_one(home: MadeHome) -> Registry:
            registry = home.opened()
            closing.callback(registry.close)
            return registry

        yield open_one


def found(registry: Registry, where: str, sort: str | None = None) -> list[str]:
    return [version.label for version in find_versions(registry, read_query(where, sort)).versions]


def facet_rows(registry: Registry) -> list[tuple[object, ...]]:
    with registry.database.read() as tx:
        versions = catalog.list_versions(tx).versions
        keys = [(version.name, version.number) for version in versions]
        names = [
            "kind",
            "method",
            "origin",
            "base",
            "data",
            "rank",
            "parameters",
            "size",
            "licence",
            "verdict",
            "limits",
            "quality",
        ]
        values = catalog.facets_of_versions(tx, keys, [*names, "signer", *catalog.figures(tx)])
        return sorted((key, tuple(sorted(facets.items()))) for key, facets in values.items())


@pytest.mark.sql
def test_a_registration_writes_what_its_version_is_found_by(
    home: MadeHome, opened: Callable[[MadeHome], Registry]
) -> None:
    registry = opened(home)
    (data,) = {
        word
        for _, facets in facet_rows(registry)
        for name, words in dict(facets).items()
        if name == "data"
        for word in words
    }
    everything = ["other:1", "sums:1"]
    assert found(registry, "kind=adapter method=lora origin=made") == everything
    assert found(registry, "kind=base") == ["tiny:1"]
    assert found(registry, "base=tiny") == found(registry, "base=tiny:1") == everything
    assert found(registry, f"data={data}") == everything
    assert found(registry, "rank=8 parameters>0") == everything
    assert found(registry, "rank<8") == []
    assert found(registry, "signer=lab-1 registered>=2020-01-01") == ["other:1", "sums:1", "tiny:1"]
    assert found(registry, "alias=champion") == ["sums:1"]
    assert found(registry, "licence=unknown kind=adapter") + found(registry, "licence!=unknown kind=adapter") != []
    assert found(registry, "verdict=undetermined") == found(registry, "quality=kept") == everything
    figure = next(name for name in known_figures(registry) if name.startswith("metric[house."))
    assert found(registry, f"{figure}>=-1000") == everything
    assert found(registry, "kind=adapter", "-name") == everything[::-1]


@pytest.mark.sql
def test_a_later_evaluation_is_what_its_version_is_found_by(
    home: MadeHome, opened: Callable[[MadeHome], Registry]
) -> None:
    registry = opened(home)
    (version, *_) = find_versions(registry, read_query("name=sums")).versions
    record, items = a_recorded_evaluation()
    later = record.revised(
        created_at=registry.clock(),
        results=tuple(result.revised(dataset="later") for result in record.results if result.category is None),
    )
    before = facet_rows(registry)
    assert not any(name.startswith("metric[later.") for name in known_figures(registry))
    append_statement(
        registry,
        subject=version.manifest_digest,
        kind="bias-evaluation",
        predicate=later.to_json(),
        signer=registry.trainer_key,
        evidence=(items,),
    )
    figure = next(name for name in known_figures(registry) if name.startswith("metric[later."))
    assert found(registry, f"{figure}>=-1000") == ["sums:1"]
    assert [row for row in facet_rows(registry) if row[0] == ("other", 1)] == [
        row for row in before if row[0] == ("other", 1)
    ]


def evaluate_as_trained_on(registry: Registry, dataset: str) -> None:
    """An evaluation of `sums:1` which found half of the rows of a data set among those that it was trained on."""
    (version, *_) = find_versions(registry, read_query("name=sums")).versions
    record, items = a_recorded_evaluation()
    entry = LeakedItems(dataset=dataset, kind="suite", items=120, hits=60, left_out=())
    check = LeakageCheck(
        method="by nearness",
        hits=60,
        dataset_digest=Digest.of(b""),
        trainings=(ComparedTexts(training="first:1", status="compared", hashes=Digest.of(b"texts")),),
        datasets=(entry,),
        limit=0.1,
    )
    append_statement(
        registry,
        subject=version.manifest_digest,
        kind="bias-evaluation",
        predicate=record.revised(created_at=registry.clock(), leakage_check=check).to_json(),
        signer=registry.trainer_key,
        evidence=(items,),
    )


def test_a_printed_figure_of_rows_that_were_trained_on_is_said_to_be_one(
    home: MadeHome, opened: Callable[[MadeHome], Registry]
) -> None:
    """A list that is sorted by accuracy has a version first that has seen the questions."""
    registry = opened(home)
    evaluate_as_trained_on(registry, "house")
    adapters = read_query("kind=adapter")
    seen_before = find_versions(registry, adapters, columns=(FIGURE,)).seen_before
    assert seen_before == ("sums:1 was trained on rows of house: its figure shows what was seen before",)
    assert find_versions(registry, adapters, columns=("rank",)).seen_before == ()


def test_a_table_and_a_list_with_figures_name_the_data_sets_that_were_trained_on(
    home: MadeHome,
    opened: Callable[[MadeHome], Registry],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A notebook that sorts by loss has that version first, and `registry list --figures` shows the same loss."""
    # what is remembered of this log would accuse the copies of the other tests, which are shorter
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    evaluate_as_trained_on(opened(home), "held-out")
    frame = peft_registry.versions("sums", home=home.folder).frame()
    assert frame["loss"].notna().all()
    assert list(frame["seen_before"]) == ["held-out"]
    assert list(peft_registry.versions("other", home=home.folder).frame()["seen_before"]) == [""]
    capsys.readouterr()
    assert run(["list", "--home", str(home.folder), "--figures"]) == 0
    printed = capsys.readouterr()
    sentence = "was trained on rows of held-out: its figure shows what was seen before"
    assert f"sums:1 {sentence}" in printed.out + printed.err
    assert f"other:1 {sentence}" not in printed.out + printed.err


@pytest.mark.sql
def test_an_upgrade_reads_the_same_from_what_was_signed(home: MadeHome, opened: Callable[[MadeHome], Registry]) -> None:
    registry = opened(home)
    before = facet_rows(registry)
    assert fill_facets(registry) == 0
    with registry.database.write() as tx:
        for table in ("facet_words", "facet_numbers"):
            tx.exec_driver_sql(f"DELETE FROM {table}")
        catalog.set_meta(tx, FACETS_FORM, "rows")
    with pytest.raises(FacetsMissing) as refused:
        found(registry, "method=lora")
    assert (refused.value.exit_code, "registry admin upgrade" in refused.value.fix) == (8, True)
    assert fill_facets(registry) == 3
    assert facet_rows(registry) == before
    assert fill_facets(registry) == 0
    with registry.database.read() as tx:
        assert catalog.meta(tx, FACETS_FORM) == facets_form()


@pytest.mark.parametrize(
    ("edit", "where"),
    [
        ("UPDATE facet_words SET word = 'ia3' WHERE facet = 'method' AND name = 'sums'", "method=ia3"),
        ("UPDATE facet_words SET word = 'base' WHERE facet = 'kind' AND name = 'sums'", "kind=base"),
        ("UPDATE facet_words SET word = 'imported' WHERE facet = 'origin' AND name = 'sums'", "origin=imported"),
    ],
)
def test_an_edited_row_lists_no_version_as_what_its_manifest_says_it_is_not(
    home: MadeHome, opened: Callable[[MadeHome], Registry], edit: str, where: str
) -> None:
    with home.rows() as rows:
        rows.run(edit)
    with pytest.raises(IntegrityBroken, match="sums") as refused:
        found(opened(home), where)
    assert refused.value.exit_code == 6


FIGURE = "metric[house.pct_stereotype]"


@pytest.mark.parametrize(
    ("edit", "where", "sort", "columns"),
    [
        ("UPDATE facet_words SET word = 'mit' WHERE facet = 'licence'", "licence=mit", None, ()),
        ("UPDATE facet_words SET word = 'mit' WHERE facet = 'licence'", "kind=adapter", None, ("licence",)),
        ("UPDATE facet_words SET word = 'other-bot' WHERE facet = 'project'", "project=other-bot", None, ()),
        ("UPDATE facet_words SET word = 'someone' WHERE facet = 'signer'", "kind=adapter", None, ("signer",)),
        ("UPDATE facet_numbers SET value = 4 WHERE facet = 'rank'", "rank<8", None, ()),
        ("UPDATE facet_numbers SET value = -9 WHERE facet LIKE 'metric%'", f"{FIGURE}<0", None, ()),
        ("UPDATE facet_numbers SET value = -9 WHERE facet LIKE 'metric%'", "kind=adapter", None, (FIGURE,)),
        ("UPDATE facet_numbers SET value = -9 WHERE facet LIKE 'metric%'", "kind=adapter", FIGURE, ()),
        (
            "INSERT INTO facet_words (name, number, facet, word, registered_at) "
            "SELECT name, number, 'limits', 'held', registered_at FROM versions",
            "limits=held kind=adapter",
            None,
            (),
        ),
    ],
    ids=range(9),
)
def test_a_list_says_nothing_that_only_a_row_claims(
    home: MadeHome,
    opened: Callable[[MadeHome], Registry],
    edit: str,
    where: str,
    sort: str | None,
    columns: tuple[str, ...],
) -> None:
    """Licences, figures and limits are in statements, which nobody reads again for a list that speaks of none."""
    with home.rows() as rows:
        rows.run(edit)
    registry = opened(home)
    with pytest.raises(IntegrityBroken, match=r"in the catalogue, .* signed") as refused:
        find_versions(registry, read_query(where, sort), columns=columns)
    assert refused.value.exit_code == 6
    if "signer" not in columns:
        assert len(find_versions(registry, read_query("method=lora")).versions) == 2


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        ("UPDATE facet_words SET word = 'ia3' WHERE facet = 'method' AND name = 'sums'", "method: ia3 "),
        ("UPDATE facet_words SET word = 'imported' WHERE facet = 'origin' AND name = 'sums'", "origin: imported "),
        ("UPDATE facet_words SET word = 'somebody' WHERE facet = 'signer' AND name = 'sums'", "signer: "),
        ("UPDATE facet_words SET word = 'sha256:00' WHERE facet = 'data' AND name = 'sums'", "data: sha256:"),
        ("UPDATE facet_numbers SET value = 1 WHERE facet = 'size' AND name = 'sums'", "size: 1"),
    ],
    ids=range(5),
)
def test_a_list_that_shows_a_version_tells_of_a_word_that_hides_it(
    home: MadeHome,
    opened: Callable[[MadeHome], Registry],
    capsys: pytest.CaptureFixture[str],
    edit: str,
    told: str,
) -> None:
    """What a manifest says is at hand where its version is shown, so that such a word is told of though nobody asked by it."""
    with home.rows() as rows:
        rows.run(edit)
    assert run(["list", "--home", str(home.folder)]) == 6
    assert told in capsys.readouterr().err
    with pytest.raises(IntegrityBroken, match=r"in the catalogue, .* signed"):
        find_versions(opened(home), read_query("kind=adapter"))


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ("DELETE FROM facet_words WHERE facet = 'licence' AND name = 'sums'", "found by licence=.*no row has it"),
        ("UPDATE facet_words SET word = 'mit' WHERE facet = 'licence' AND name = 'sums'", "found by licence="),
        ("DELETE FROM facet_words WHERE facet = 'verdict' AND name = 'sums'", "found by verdict=.*no row has it"),
        ("UPDATE facet_numbers SET value = -0.99 WHERE facet LIKE 'metric%' AND name = 'sums'", r"found by metric\["),
        ("DELETE FROM facet_numbers WHERE name = 'sums'", "no row has it"),
        (
            "INSERT INTO facet_words (name, number, facet, word, registered_at) "
            "SELECT name, number, 'limits', 'held', registered_at FROM versions WHERE name = 'sums'",
            "found by limits=held: this is in a row, and nothing says it",
        ),
    ],
    ids=range(6),
)
def test_the_check_of_the_log_names_a_row_that_hides_a_version_or_praises_it(
    home: MadeHome, opened: Callable[[MadeHome], Registry], edit: str, says: str
) -> None:
    with home.rows() as rows:
        rows.run(edit)
    found_wrong = [f"{wrong.place} {wrong.text}" for wrong in check_log(opened(home)).contradictions]
    assert [wrong for wrong in found_wrong if re.search(f"^sums:1 .*{says}", wrong)]


@pytest.mark.parametrize("where", ["method=lora", "kind!=base", "alias=champion"])
def test_a_version_whose_artifact_somebody_deleted_is_named_by_the_list_that_it_belongs_in(
    home: MadeHome, opened: Callable[[MadeHome], Registry], where: str
) -> None:
    with home.rows() as rows:
        rows.run(
            "DELETE FROM artifacts WHERE manifest_digest = (SELECT manifest_digest FROM versions WHERE name = 'sums')"
        )
    with pytest.raises(RowDamaged, match=r"that of sums:1, sha256:.* is gone"):
        found(opened(home), where)


def test_an_alias_that_only_a_row_claims_lists_nothing(home: MadeHome, opened: Callable[[MadeHome], Registry]) -> None:
    with home.rows() as rows:
        rows.run("UPDATE aliases SET alias = 'stolen' WHERE alias = 'candidate'")
    assert found(opened(home), "alias=stolen") == []


@pytest.mark.parametrize(
    ("where", "error", "says"),
    [
        ("base=tinny", NotFound, "did you mean `tiny`"),
        ("signer=lab-2", SignerNotListed, "did you mean `lab-1`"),
        ("metric[hause.pct_stereotype]<1", FigureUnknown, "did you mean `metric[house."),
    ],
)
def test_a_name_that_is_not_here_is_refused_with_what_is_close(
    home: MadeHome, opened: Callable[[MadeHome], Registry], where: str, error: type[NotFound], says: str
) -> None:
    with pytest.raises(error) as refused:
        found(opened(home), where)
    assert refused.value.exit_code == 7
    assert says in refused.value.fix


@pytest.mark.sql
def test_pages_go_on_where_a_cursor_of_the_same_question_says(
    home: MadeHome, opened: Callable[[MadeHome], Registry]
) -> None:
    registry = opened(home)
    seen = []
    cursor = None
    for _ in range(3):
        page = find_versions(registry, read_query("size>0", "-registered"), cursor=cursor, limit=1)
        seen += [version.label for version in page.versions]
        cursor = page.next
    assert (sorted(seen), cursor) == (["other:1", "sums:1", "tiny:1"], None)
    first = find_versions(registry, read_query("size>0", "-registered"), limit=1).next
    assert first is not None
    for where, sort, text in [
        ("size>1", "-registered", first),
        ("size>0", "registered", first),
        ("size>0", None, first),
        ("size>0", "-registered", first[:-3]),
        ("size>0", "-registered", "\0"),
        ("size>0", "-registered", "ü"),
        ("size>0", "-registered", "W1tbW1tb" * 9000),
        ("size>0", "-registered", ""),
    ]:
        with pytest.raises(CursorInvalid) as refused:
            find_versions(registry, read_query(where, sort), cursor=text)
        assert refused.value.exit_code == 2


def answer(capsys: pytest.CaptureFixture[str], home: MadeHome, *words: str) -> tuple[int, str, str]:
    code = run(["list", "--home", f"{home.folder}", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.sql
def test_the_command_answers_in_text_json_and_csv(home: MadeHome, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--where", "kind=adapter", "--columns", "version,rank,licence,signer", "--limit", "1")
    code, out, err = answer(capsys, home, *asked)
    assert (code, out.split()[:4]) == (0, ["version", "rank", "licence", "signer"])
    assert "other:1" in out
    cursor = err.split("--cursor ")[1].split()[0]
    code, out, _ = answer(capsys, home, *asked, "--cursor", cursor, "-o", "json")
    page = json.loads(out)
    assert (code, [version["name"] for version in page["versions"]], page["next"]) == (0, ["sums"], None)
    assert page["versions"][0]["facets"]["rank"] == [8.0]
    code, out, _ = answer(capsys, home, "--where", "kind=adapter", "--columns", "version,rank,alias", "-o", "csv")
    assert list(csv.reader(io.StringIO(out))) == [
        ["version", "rank", "alias"],
        ["other:1", "8", "candidate"],
        ["sums:1", "8", "champion"],
    ]
    code, out, _ = answer(capsys, home, "--sort", f"-{FIGURE}", "-o", "csv")
    headings, *rows = csv.reader(io.StringIO(out))
    assert (code, headings[-1], len(rows)) == (0, FIGURE, 2)
    assert all(0 <= float(row[-1]) <= 1 for row in rows), "what a list is sorted by is in it"
    code, out, _ = answer(capsys, home, "--facets")
    assert code == 0
    assert "metric[house." in out
    assert answer(capsys, home, "--where", "kind=model")[0] == 0


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--where", "methd=ia3"), 2, "did you mean `method`"),
        (("--where", 'signer="anna'), 2, "character 8"),
        (("--where", "x" * 1_000_000), 2, "are the most"),
        (("--sort", "method"), 2, "no order by method"),
        (("--columns", "version,rnk"), 2, "did you mean `rank`"),
        (("--columns", ""), 2, "no column"),
        (("--where", "kind=adapter", "--kind", "base"), 0, "no registered version matches"),
        (("--where", "kind=adapter", "--signed-by", "ab"), 2, "do not go together"),
        (("--sort", "-registered", "--after", "sums:1"), 2, "order by name"),
        (("--cursor", "AAAA", "--after", "sums:1"), 2, "do not go together"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_sentence(
    home: MadeHome, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, says: str
) -> None:
    exit_code, out, err = answer(capsys, home, *words)
    assert exit_code == code
    assert says in err
    assert out == ""


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("project=suport-bot", "no version has project=suport-bot; did you mean project=support-bot?"),
        ("project!=suport-bot", "no version has project!=suport-bot; did you mean project!=support-bot?"),
        ("method=lor", "no version has method=lor; did you mean method=lora?"),
        ("method=qlroa", "no version has method=qlroa; did you mean method=qlora?"),
        ("alias=champoin", "no version has alias=champoin; did you mean alias=champion?"),
        ("verdict=provider_25_1_d", "no version has verdict=provider_25_1_d; did you mean verdict=provider_25_1_c?"),
        ("method=lora,lorra", "no version has method=lorra; did you mean method=lora?"),
        ('licence="Unknown  "', None),  # as it is read it is one
        ("method=qlora", None),  # is one, and no version has it
        ("verdict=provider_25_1_c", None),
        ("licence=non_commercial", None),
        ("project=zebra", None),  # like nothing
        ("project=support-bot rank>1e9", None),  # each condition is met by some version
    ],
)
def test_a_word_that_no_version_has_is_told_with_the_one_that_was_probably_meant(
    home: MadeHome, capsys: pytest.CaptureFixture[str], where: str, told: str | None
) -> None:
    """The exit code stays: a list of nothing is an answer."""
    code, _, err = answer(capsys, home, "--where", where)
    assert code == 0
    assert [line for line in err.splitlines() if "did you mean" in line] == ([] if told is None else [told])
    if told is not None:
        assert told in answer(capsys, home, "--where", where, "-o", "json")[2]


def test_a_hostile_word_is_repeated_on_one_short_line(home: MadeHome, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = answer(capsys, home, "--where", f'licence="unknown\n{"unknown " * 300}"')
    assert code == 0
    assert max(map(len, err.splitlines())) < 600


def test_the_python_face_asks_the_same(home: MadeHome) -> None:
    versions = peft_registry.versions(where="kind=adapter rank<=8", sort="-name", home=home.folder)
    assert [version.label for version in versions] == ["sums:1", "other:1"]
    assert [version.label for version in peft_registry.versions("su", where="kind=adapter", home=home.folder)] == [
        "sums:1"
    ]
