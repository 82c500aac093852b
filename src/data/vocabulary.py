"""The words a decoder can say, as ids."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from src.data.reading import DataError
from src.files import write_json

PAD, START, END, UNK = range(4)
SPECIALS = ("<pad>", "<start>", "<end>", "<unk>")
VOCABULARY_FILE = "vocabulary.json"


class Vocabulary:
    """Words and their ids: the specials first (pad 0, start 1, end 2, unknown 3), then words from common to rare."""

    def __init__(self, words: Sequence[str]) -> None:
        """Args: words: without the specials; the first gets id 4."""
        self.words: tuple[str, ...] = (*SPECIALS, *words)
        # The specials are no words of a caption: one that spells "<end>" must not end.
        self._ids = {word: number for number, word in enumerate(words, start=len(SPECIALS))}
        if len(self._ids) != len(words) or not self._ids.keys().isdisjoint(SPECIALS):
            raise ValueError("a vocabulary holds every word once, and none that is a special")

    @classmethod
    def build(cls, captions: Iterable[Sequence[str]], min_count: int = 1) -> Vocabulary:
        """The words seen at least `min_count` times in the captions, by falling count, then alphabetically."""
        counts = Counter(word for words in captions for word in words)
        known = (word for word, count in counts.items() if count >= min_count and word not in SPECIALS)
        return cls(sorted(known, key=lambda word: (-counts[word], word)))

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self._ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.words == other.words

    def __hash__(self) -> int:
        return hash(self.words)

    def encode(self, words: Iterable[str]) -> list[int]:
        """The id of each word, UNK for those not known. Adds neither START nor END."""
        return [self._ids.get(word, UNK) for word in words]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The words up to the first END, without START and PAD; UNK is said as '<unk>'."""
        said: list[str] = []
        for number in ids:
            if number == END:
                break
            if number not in (PAD, START):
                said.append(self.words[number])
        return said

    def save(self, path: Path) -> None:
        write_json(path, {"specials": list(SPECIALS), "words": list(self.words[len(SPECIALS) :])})

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read what `save` wrote.

        Raises:
            DataError: the file is missing, is no vocabulary, repeats a word, or numbers the specials differently.
        """
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            specials, words = tuple(stored["specials"]), stored["words"]
        except FileNotFoundError:
            raise DataError(f"{path} is missing: run `dvc repro prepare`") from None
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{path} is not a vocabulary: run `dvc repro -f prepare`") from None
        if specials != SPECIALS:
            raise DataError(f"{path} numbers the specials {specials}, not {SPECIALS}: run `dvc repro -f prepare`")
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise DataError(f"{path} holds words that are not text: run `dvc repro -f prepare`")
        try:
            return cls(words)
        except ValueError as error:
            raise DataError(f"{path}: {error}: run `dvc repro -f prepare`") from None
