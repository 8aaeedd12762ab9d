"""What a model was trained on, as hashes: of words in a row, and of whole texts and sentences.

A text is normalised (Unicode NFKC, letter case, marks and accents, letters of other scripts that look like Latin ones, characters
that are not seen, spacing, punctuation, English contractions). Two kinds of hashes are kept of it. Its runs: all five words in a
row. Its keys: of the whole text and of each sentence, which is what lies between marks of punctuation, letters alone, so that
spaces within words and punctuation do not matter; and of the clauses of a sentence, and of each two neighbouring sentences, in
alphabetical order, so that their order does not matter. What follows where some of them occur is in `nearness`.

Both are 40 bits that follow from BLAKE2b of words and texts, sorted, at most 16 MiB for a data set; where there are more, those of
the lowest value, and only hashes below that value are looked for. Keys have the lowest values, so that they are left out last.
Beside them stands how alike the texts of the data set are to each other. Why the hashes have no key:
docs/adr/0024-hashes-of-what-was-trained-on.md.
"""

import hashlib
import heapq
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from peft_registry.registry.intake.json import read_json
from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.run import KeptTexts
from peft_registry.schemas.statement import urn
from peft_registry.trainer.evaluation.nearness import KEY_SHIFT, WORDS, Alikeness, Hashes, Marks, alikeness_among, among

FORM_V1 = urn("text-hashes")
"""Texts folded less than now: accents, look-alike letters and some unseen characters stand as they were written."""
FORM_V2 = urn("text-hashes", 2)
"""Runs alone, of texts whose contractions stand as they were written; a sentence that is shorter than a run is one."""
FORM = urn("text-hashes", 3)
"""What is written."""
MAX_BYTES = 16 * 1024 * 1024
_BYTES = 5  # of a hash: of 3 million kept ones, 3 in a million others look like one of them
ALL = 1 << (8 * _BYTES)  # above every hash
_MOST = (MAX_BYTES - 1024) // _BYTES  # hashes; the rest is the header's
_CHUNK = 1 << 20  # hashes that are sorted at once
_SAMPLE = 4096  # rows of a data set that are looked for among its other rows
_PERSON = b"text-hashes:v1"  # BLAKE2b's own separation of purposes
_PERSON_OF_KEYS = b"text-keys:v1"

# of scripts that are written without spaces, each character is a word
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[^\W_])+")
_INVISIBLE_V1 = re.compile("[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff]")
_SEPARATORS = frozenset("\t\n\v\f\r\x1c\x1d\x1e\x1f\x85")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]")
_FILLERS = frozenset((0x115F, 0x1160, 0x2065, 0x3164, 0xFFA0))  # letters, or not yet assigned, and never drawn
# Cyrillic, Greek, Armenian and phonetic letters, and the Latin ones that they look like in one case or the other
_LOOK_ALIKE = dict(
    zip(
        "аеорсухіјѕһԁԛԝкмтвнӏαονρτυκιεχηγωβμζօոսհıɑɡ",
        "aeopcyxijshdqwkmtbhlaovptukiexnywbmzonuhiag",
        strict=True,
    )
)
_PIECE_END = re.compile(r"[.!?;:\r\n\u3002()\[\]\"\u201c\u201d\u00ab\u00bb\u2013\u2014]+|\s-+\s")
# words that begin a clause, where no comma does
_OPENING = frozenset((
    "after", "although", "and", "as", "because", "before", "but", "if", "or", "since", "so", "that", "though", "unless", "until",
    "when", "whenever", "where", "whereas", "which", "while", "who",
))  # fmt: skip
# English contractions in full, by the words that an apostrophe cuts them into, or that they are without one
_STEMS = (
    "are", "could", "did", "do", "does", "had", "has", "have", "is", "might", "must", "need", "should", "was", "were", "would",
)  # fmt: skip
_NEGATED = {f"{stem}n": stem for stem in _STEMS} | {"can": "can", "won": "will", "shan": "shall"}
_NOT = {f"{start}t": (stem, "not") for start, stem in _NEGATED.items()} | {"cannot": ("can", "not")}
_ENDINGS = {"re": "are", "m": "am", "ll": "will", "ve": "have", "d": "would"}
_BEFORE_IS = frozenset(("he", "here", "how", "it", "she", "that", "there", "what", "where", "who"))
_SHORTENED = frozenset(("s", "t", *_NOT, *_ENDINGS))


class MalformedTextHashes(IntegrityBroken):
    what = "the kept hashes {digest.short} of what was trained on cannot be read"
    why = "{reason}"
    fix = "restore the object from a backup of the store; the record of the run names it"

    digest: Digest
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class TextHashes:
    """What is kept of `rows` texts, folded as `form` says: `hashes` sorted, each once, all of them below `below`.

    `alike` is None in forms that did not keep it.
    """

    hashes: Hashes
    rows: int
    below: int = ALL
    form: str = FORM
    alike: Alikeness | None = None

    @property
    def share(self) -> float:
        return self.below / ALL

    def has(self, wanted: Hashes) -> npt.NDArray[np.bool_]:
        """Whether each hash is among the kept ones."""
        return among(wanted, self.hashes)

    def to_bytes(self) -> bytes:
        """The object that is kept: a line of canonical JSON, then the hashes, five bytes each, the highest byte first."""
        header = {"below": self.below, "form": self.form, "hashes": len(self.hashes), "rows": self.rows, "words": WORDS}
        alike = {} if self.alike is None else {"alike": self.alike.to_json()}
        packed = self.hashes.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 8 - _BYTES :]
        return canonical_bytes(header | alike) + b"\n" + packed.tobytes()

    def describe(self, data: bytes) -> KeptTexts:
        """What the record of the run says of that object."""
        return KeptTexts(
            form=self.form,
            sha256=Digest.of(data),
            bytes=len(data),
            rows=self.rows,
            hashes=len(self.hashes),
            share=self.share,
        )


def hash_texts(texts: Iterable[str]) -> TextHashes:
    """What is kept of all texts. Each text is looked at once and not kept; one that is there again is counted and adds nothing."""
    builder = _Builder()
    for text in texts:
        builder.add(text)
    return builder.result()


@dataclass(slots=True)
class _Builder:
    """Hashes of texts, while they are read.

    Attributes:
        kept: sorted hashes below `below`.
        repeated: those that more than one of the different texts has.
        seen: the sorted identities of the texts.
        waiting, waiting_seen: hashes and identities that are not among the sorted ones yet.
        sample: of the texts with the lowest identities what they are looked for by, the highest identity first.
    """

    kept: Hashes = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    repeated: Hashes = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    seen: Hashes = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    below: int = ALL
    rows: int = 0
    waiting: list[int] = field(default_factory=list)
    waiting_seen: set[int] = field(default_factory=set)
    sample: list[tuple[int, Marks]] = field(default_factory=list)

    def add(self, text: str) -> None:
        self.rows += 1
        marks = marks_of(text)
        if marks.identity is None or self._has(marks.identity):
            return
        self.waiting_seen.add(marks.identity)
        self.waiting += marks.kept
        if len(self.sample) < _SAMPLE:
            heapq.heappush(self.sample, (-marks.identity, marks))
        elif marks.identity < -self.sample[0][0]:
            heapq.heapreplace(self.sample, (-marks.identity, marks))
        if len(self.waiting) >= _CHUNK:
            self._merge()

    def _has(self, identity: int) -> bool:
        if identity in self.waiting_seen:
            return True
        place = int(np.searchsorted(self.seen, np.uint64(identity)))
        return place < len(self.seen) and int(self.seen[place]) == identity

    def _merge(self) -> None:
        waiting = np.sort(np.asarray(self.waiting, dtype=np.uint64))
        fresh = _once(waiting)
        again = _union(_once(waiting[1:][waiting[1:] == waiting[:-1]]), fresh[among(fresh, self.kept)])
        every = _union(self.kept, fresh)
        if len(every) > _MOST:
            self.below = min(self.below, int(every[_MOST]))
        self.kept = every[every < self.below]
        self.repeated = _union(self.repeated, again)
        self.repeated = self.repeated[self.repeated < self.below]
        self.seen = _union(self.seen, np.fromiter(self.waiting_seen, dtype=np.uint64))
        self.waiting.clear()
        self.waiting_seen.clear()

    def result(self) -> TextHashes:
        self._merge()
        others = TextHashes(self.repeated, self.rows, self.below)
        alike = alikeness_among([marks for _, marks in self.sample], others.has, below=self.below)
        return TextHashes(self.kept, self.rows, self.below, alike=alike)


def _once(values: Hashes) -> Hashes:
    """Sorted values, each once."""
    return values if not len(values) else values[np.concatenate(([True], values[1:] != values[:-1]))]


def _union(first: Hashes, second: Hashes) -> Hashes:
    """The values of both, sorted, each once."""
    # a stable sort takes sorted stretches as they are, which makes this several times faster than `numpy.union1d`
    return _once(np.sort(np.concatenate([first, second]), kind="stable"))


def read_text_hashes(data: bytes, digest: Digest) -> TextHashes:
    """The runs in a kept object.

    Raises:
        MalformedTextHashes: it is not in the form that this tool writes.
    """
    line, _, packed = data.partition(b"\n")
    header = read_json(line, what="the header of text hashes", error=lambda _, why: MalformedTextHashes(digest, why))
    if not isinstance(header, dict) or header.get("form") not in (FORM, *_RUNS_ALONE) or header.get("words") != WORDS:
        raise MalformedTextHashes(
            digest, f"its header does not say {FORM}, or a form before it, over runs of {WORDS} words"
        )
    rows = header.get("rows")
    below = header.get("below")
    if type(rows) is not int or type(below) is not int or not 0 <= below <= ALL or len(data) > MAX_BYTES:
        raise MalformedTextHashes(digest, "its header or size is out of range")
    if len(packed) % _BYTES:
        raise MalformedTextHashes(digest, "its last hash is cut")
    wide = np.zeros((len(packed) // _BYTES, 8), dtype=np.uint8)
    wide[:, 8 - _BYTES :] = np.frombuffer(packed, dtype=np.uint8).reshape(-1, _BYTES)
    hashes = wide.view(">u8").reshape(-1).astype(np.uint64)
    if len(hashes) and (np.any(hashes[1:] <= hashes[:-1]) or int(hashes[-1]) >= below):
        raise MalformedTextHashes(digest, "its hashes are not sorted, or are above their bound")
    try:
        alike = Alikeness.from_json(header["alike"]) if "alike" in header else None
    except ValueError:
        raise MalformedTextHashes(digest, "it does not say how alike its texts are in counts") from None
    return TextHashes(hashes, rows, below, header["form"], alike)


class _Seen(dict[int, str]):
    """What is seen of a character, by its code: nothing of a mark or of what is never drawn, a Latin letter of its look-alike."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        is_control = category == "Cc" and character not in _SEPARATORS
        is_unseen = category[0] == "M" or category == "Cf" or code in _FILLERS or 0xE0000 <= code <= 0xE0FFF
        self[code] = "" if is_control or is_unseen else _LOOK_ALIKE.get(character, character)
        return self[code]


_SEEN = _Seen()


def words_of(text: str) -> list[str]:
    """The words of a text, normalised."""
    return _WORD.findall(_folded(text))


def _folded(text: str) -> str:
    """A text without what does not count; punctuation stands, because it cuts words and pieces."""
    if text.isascii() and not _CONTROL.search(text):
        return text.casefold()
    bare = unicodedata.normalize("NFKD", text).casefold().translate(_SEEN)
    return unicodedata.normalize("NFKC", bare)


def _in_full(words: list[str]) -> list[str]:
    """Words with English contractions in full: `can t` is `can not`, `it s` is `it is`."""
    if _SHORTENED.isdisjoint(words):
        return words
    full: list[str] = []
    for word in words:
        before = full[-1] if full else ""
        if word == "t" and before in _NEGATED:
            full[-1:] = [_NEGATED[before], "not"]
        elif word == "s" and before in _BEFORE_IS:
            full.append("is")
        elif word in _ENDINGS and full:
            full.append(_ENDINGS[word])
        else:
            full += _NOT.get(word, (word,))
    return full


def _words_of_v1(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", _INVISIBLE_V1.sub("", text)).casefold())


# forms that have runs alone, and how their texts were folded: hashes are found again only by texts that are folded as theirs were
_RUNS_ALONE = {FORM_V1: _words_of_v1, FORM_V2: words_of}


def marks_of(text: str, form: str = FORM) -> Marks:
    """What a text is looked for by among hashes of a form."""
    if form in _RUNS_ALONE:
        words = _RUNS_ALONE[form](text)
        return Marks(len(words), _runs_before(words))
    pieces = [clauses for piece in _PIECE_END.split(_folded(text)) if (clauses := _clauses(piece))]
    words = [word for clauses in pieces for clause in clauses for word in clause]
    if not words:
        return Marks(0, ())
    letters = [["".join(clause) for clause in clauses] for clauses in pieces]
    sentences = ["".join(clauses) for clauses in letters]
    of_clauses = [_key_of_set(clauses) for clauses in letters if len(clauses) > 1]
    is_alone = len(pieces) == 1
    return Marks(
        words=len(words),
        runs=_runs(words),
        identity=_identity("".join(sentences)),
        parts=tuple(of_clauses if is_alone else map(_key_of_set, pairwise(sentences))),
        sentences=() if is_alone else (*of_clauses, *(_identity(sentence) >> KEY_SHIFT for sentence in sentences)),
    )


def _clauses(piece: str) -> list[list[str]]:
    """The words of a piece, cut at commas and before words that begin a clause."""
    clauses: list[list[str]] = []
    for part in piece.split(","):
        words = _in_full(_WORD.findall(part))
        cuts = [0, *(place for place, word in enumerate(words) if place and word in _OPENING), len(words)]
        clauses += [words[start:stop] for start, stop in pairwise(cuts) if start < stop]
    return clauses


def _key_of_set(letters: Iterable[str]) -> int:
    """The key of several clauses or sentences in whatever order."""
    # a line end is in no word: several in order are never taken for a text as it was written
    return _identity("\n".join(sorted(letters))) >> KEY_SHIFT


def _identity(letters: str) -> int:
    text = letters.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8, person=_PERSON_OF_KEYS).digest(), "big")


def _runs(words: Sequence[str]) -> tuple[int, ...]:
    """Of each five words in a row the sum of their numbers, each times that of its place, mixed."""
    if len(words) < WORDS:
        return ()
    numbers = np.fromiter(map(_number, words), dtype=np.uint64, count=len(words))
    runs = len(words) - WORDS + 1
    mixed = np.zeros(runs, dtype=np.uint64)
    for place, factor in enumerate(_FACTORS):
        mixed += numbers[place : place + runs] * factor
    # the end of SplitMix64 (Steele, Lea, Flood 2014): every bit of a sum moves all bits of what is kept
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = (mixed ^ (mixed >> np.uint64(31))) >> np.uint64(64 - 8 * _BYTES)
    return tuple(mixed.tolist())


@lru_cache(maxsize=1 << 18)
def _number(word: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8, person=_PERSON).digest()
    )


_FACTORS = [
    np.uint64(_identity(f"place {place}") | 1) for place in range(WORDS)
]  # odd, so that no bit of a number is lost


def _runs_before(words: Sequence[str]) -> tuple[int, ...]:
    """Runs as forms before hashed them: a text that is shorter is one run."""
    encoded = [word.encode("utf-8", "surrogatepass") for word in words]
    starts = range(max(1, len(words) - WORDS + 1)) if words else ()
    return tuple(_hash(encoded[start : start + WORDS]) for start in starts)


def _hash(words: Sequence[bytes]) -> int:
    return int.from_bytes(hashlib.blake2b(b" ".join(words), digest_size=_BYTES, person=_PERSON).digest(), "big")
