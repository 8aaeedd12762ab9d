"""No edit of a sentence breaks what was signed: with all literals of prose reworded, or one of them, a home verifies as before."""

from pathlib import Path

import pytest

from tests.builders.corpus import make_corpus
from tests.builders.prose_mutants import all_prose, run_all_at_once, run_mutants


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("corpus") / "home"
    make_corpus(home)
    return home


def test_every_sentence_reworded_at_once_breaks_no_version(corpus: Path) -> None:
    assert set(run_all_at_once(corpus).values()) == {"verified"}


@pytest.mark.full
@pytest.mark.timeout(3600)  # a process for each of a thousand literals, about one CPU second each
def test_no_reworded_sentence_breaks_any_version(corpus: Path) -> None:
    """Each alone, because two that are reworded alike could go together."""
    as_it_was, by_mutant = run_mutants(corpus, all_prose())
    assert set(as_it_was.values()) == {"verified"}
    broken = [
        f"{prose.file}:{prose.line} {prose.text!r}: {told}" for prose, told in by_mutant.items() if told != as_it_was
    ]
    assert broken == []
