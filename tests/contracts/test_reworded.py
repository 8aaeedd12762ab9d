"""No edit of a sentence breaks what was signed: with all literals of prose reworded, or one of them, a home verifies as before."""

from pathlib import Path

import pytest

from tests.builders.corpus import make_corpus
from tests.builders.prose_mutants import Prose, all_prose, run_all_at_once, run_mutants, sample

SEEDED = 3  # a few, because all at once are asked beside them, and each alone by `make full`
SEED = 20261130


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("corpus") / "home"
    make_corpus(home)
    return home


def _broken(corpus: Path, mutants: list[Prose]) -> list[str]:
    as_it_was, by_mutant = run_mutants(corpus, mutants)
    assert set(as_it_was.values()) == {"verified"}
    return [
        f"{prose.file}:{prose.line} {prose.text!r}: {told}" for prose, told in by_mutant.items() if told != as_it_was
    ]


def test_every_sentence_reworded_at_once_breaks_no_version(corpus: Path) -> None:
    assert set(run_all_at_once(corpus).values()) == {"verified"}


def test_a_reworded_sentence_breaks_no_version(corpus: Path) -> None:
    assert _broken(corpus, sample(SEEDED, seed=SEED)) == []


@pytest.mark.full
@pytest.mark.timeout(3600)  # a process for each of a thousand literals, about one CPU second each
def test_no_reworded_sentence_breaks_any_version(corpus: Path) -> None:
    mutants = all_prose()
    assert len(mutants) > SEEDED
    assert _broken(corpus, mutants) == []
