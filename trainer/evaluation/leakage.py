"""Sentences of a suite that occur in the training data: a hit makes the figure of those items worthless."""

from collections.abc import Iterable, Sequence

from peft_registry.schemas.evaluation import LeakageCheck
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.suites import LoadedSuite

METHOD = "whole sentence inside a training row, letter case and spacing folded"


def check_leakage(training_texts: Iterable[str], suites: Sequence[LoadedSuite]) -> LeakageCheck:
    """How many distinct sentences of the suites occur in the texts. Each text is looked at once and not kept."""
    open_sentences = {_folded(request.context + request.continuation) for suite in suites for request in suite.requests}
    asked = len(open_sentences)
    for text in training_texts:
        folded = _folded(text)
        open_sentences -= {sentence for sentence in open_sentences if sentence in folded}
    return LeakageCheck(method=METHOD, hits=asked - len(open_sentences), dataset_digest=_digest(suites))


def _digest(suites: Sequence[LoadedSuite]) -> Digest:
    """The digest of the one file, or of the sorted digests of several, one a line."""
    digests = sorted(str(suite.dataset.sha256) for suite in suites)
    return Digest.parse(digests[0]) if len(digests) == 1 else Digest.of("".join(f"{d}\n" for d in digests).encode())


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
