"""What a model was trained on, as hashes of words in a row.

A text is normalised (Unicode NFKC, letter case, marks and accents, letters of other scripts that look like Latin ones, characters
that are not seen, spacing, punctuation) and cut into all runs of five words;
a sentence that is shorter is one run. An item occurs in the training data where at least half of its runs do. What this finds: the
text itself, in other case, spacing or punctuation, inside a longer text, or with words put before, behind or between few of its
words. What it does not find: a text most of whose runs were changed, as by another word in the middle of a short sentence.

Runs are kept as 40 bits of BLAKE2b, sorted, at most 16 MiB for a data set; where there are more, those of the lowest value, and
only runs below that value are looked for. Why the hashes have no key: docs/adr/0024-hashes-of-what-was-trained-on.md.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from peft_registry.registry.intake.json import read_json
from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.run import KeptTexts
from peft_registry.schemas.statement import urn

WORDS = 5  # of a run
FORM_V1 = urn("text-hashes")
"""Texts folded less than now: accents, look-alike letters and some unseen characters stand as they were written."""
FORM = urn("text-hashes", 2)
"""What is written."""
MAX_BYTES = 16 * 1024 * 1024
_BYTES = 5  # of a hash: of 3 million kept ones, 3 in a million others look like one of them
ALL = 1 << (8 * _BYTES)  # above every hash
_MOST = (MAX_BYTES - 1024) // _BYTES  # hashes; the rest is the header's
_CHUNK = 1 << 20  # hashes that are sorted at once
_PERSON = b"text-hashes:v1"  # BLAKE2b's own separation of purposes

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
_SENTENCE_END = re.compile(r"[.!?;:…\r\n\u3002\uff01\uff1f]+")

Hashes = npt.NDArray[np.uint64]


class MalformedTextHashes(IntegrityBroken):
    reference = "malformed-text-hashes"
    what = "the kept hashes {digest.short} of what was trained on cannot be read"
    why = "{reason}"
    fix = "restore the object from a backup of the store; the record of the run names it"

    digest: Digest
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class TextHashes:
    """The runs of `rows` texts, folded as `form` says: `hashes` sorted, each once, all of them below `below`."""

    hashes: Hashes
    rows: int
    below: int = ALL
    form: str = FORM

    @property
    def share(self) -> float:
        return self.below / ALL

    def has(self, wanted: Hashes) -> npt.NDArray[np.bool_]:
        """Whether each hash is among the kept ones."""
        if not len(self.hashes):
            return np.zeros(len(wanted), dtype=np.bool_)
        places = np.minimum(np.searchsorted(self.hashes, wanted), len(self.hashes) - 1)
        matches: npt.NDArray[np.bool_] = self.hashes[places] == wanted
        return matches

    def to_bytes(self) -> bytes:
        """The object that is kept: a line of canonical JSON, then the hashes, five bytes each, the highest byte first."""
        header = {"below": self.below, "form": self.form, "hashes": len(self.hashes), "rows": self.rows, "words": WORDS}
        packed = self.hashes.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 8 - _BYTES :]
        return canonical_bytes(header) + b"\n" + packed.tobytes()

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
    """The runs of all texts. Each text is looked at once and not kept."""
    kept = np.empty(0, dtype=np.uint64)
    below = ALL
    rows = 0
    waiting: list[int] = []

    def merged() -> tuple[Hashes, int]:
        every = np.unique(np.concatenate([kept, np.asarray(waiting, dtype=np.uint64)]))
        if len(every) <= _MOST:
            return every[every < below], below
        lowest = int(every[_MOST])
        return every[:_MOST], min(below, lowest)

    for text in texts:
        rows += 1
        waiting += runs_of(text)
        if len(waiting) >= _CHUNK:
            kept, below = merged()
            waiting.clear()
    kept, below = merged()
    return TextHashes(kept, rows, below)


def read_text_hashes(data: bytes, digest: Digest) -> TextHashes:
    """The runs in a kept object.

    Raises:
        MalformedTextHashes: it is not in the form that this tool writes.
    """
    line, _, packed = data.partition(b"\n")
    header = read_json(line, what="the header of text hashes", error=lambda _, why: MalformedTextHashes(digest, why))
    if not isinstance(header, dict) or header.get("form") not in _WORDS_OF or header.get("words") != WORDS:
        raise MalformedTextHashes(
            digest, f"its header does not say {FORM}, or the form before it, over runs of {WORDS} words"
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
    return TextHashes(hashes, rows, below, header["form"])


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
    if text.isascii() and not _CONTROL.search(text):
        return _WORD.findall(text.casefold())
    bare = unicodedata.normalize("NFKD", text).casefold().translate(_SEEN)
    return _WORD.findall(unicodedata.normalize("NFKC", bare))


def _words_of_v1(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", _INVISIBLE_V1.sub("", text)).casefold())


# what is read: hashes are found again only by texts that are folded as theirs were
_WORDS_OF = {FORM_V1: _words_of_v1, FORM: words_of}


def runs_of(text: str) -> list[int]:
    """The hashes of a text's runs of words, and of its sentences that are shorter than a run."""
    words = words_of(text)
    runs = [_hash(words[start : start + WORDS]) for start in range(len(words) - WORDS + 1)]
    for sentence in _SENTENCE_END.split(text):
        short = words_of(sentence) if len(sentence) < 200 else []
        if 0 < len(short) < WORDS:
            runs.append(_hash(short))
    return runs


def runs_of_item(text: str, form: str = FORM) -> list[int]:
    """The runs by which an item is looked for among hashes of a form: of a text as long as a run those of five words alone."""
    words = _WORDS_OF[form](text)
    if not words:
        return []
    if len(words) < WORDS:
        return [_hash(words)]
    return [_hash(words[start : start + WORDS]) for start in range(len(words) - WORDS + 1)]


def _hash(words: Sequence[str]) -> int:
    text = " ".join(words).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=_BYTES, person=_PERSON).digest(), "big")
