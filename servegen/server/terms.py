"""Counts of the terms of a text, term by term as CountVectorizer of scikit-learn finds them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

_SPACES = re.compile(r"\s\s+")


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How a text is taken apart, and the terms that count."""

    vocabulary: tuple[str, ...]
    """The terms in the order of the counts."""
    analyzer: str
    """`word`, `char` or `char_wb`."""
    pattern: str
    """Regular expression of a word, in Python's syntax."""
    ngrams: tuple[int, int]
    lowercase: bool
    accents: str | None
    """How accents are stripped: `ascii`, `unicode` or not at all."""
    stop_words: tuple[str, ...] = ()

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Terms:
        """The terms that `json` wrote."""
        low, high = value["ngrams"]
        given = dict(value) | {"ngrams": (low, high)}
        for name in ("vocabulary", "stop_words"):
            given[name] = tuple(given[name])
        return cls(**given)

    def json(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            "vocabulary": list(self.vocabulary),
            "analyzer": self.analyzer,
            "pattern": self.pattern,
            "ngrams": list(self.ngrams),
            "lowercase": self.lowercase,
            "accents": self.accents,
            "stop_words": list(self.stop_words),
        }

    def counts(self, texts: Sequence[str]) -> Any:
        """How often each term is in each text: float64, (texts, vocabulary)."""
        found = np.zeros((len(texts), len(self.vocabulary)))
        positions = self._positions
        for row, text in zip(found, texts, strict=True):
            for term in self._terms(text):
                position = positions.get(term)
                if position is not None:
                    row[position] += 1.0
        return found

    @cached_property
    def _positions(self) -> Mapping[str, int]:
        return {term: position for position, term in enumerate(self.vocabulary)}

    @cached_property
    def _find(self) -> Any:
        return re.compile(self.pattern).findall

    @cached_property
    def _stopped(self) -> frozenset[str]:
        return frozenset(self.stop_words)

    def _terms(self, text: str) -> Iterator[str]:
        if self.lowercase:
            text = text.lower()
        if self.accents:
            text = _STRIPPERS[self.accents](text)
        if self.analyzer == "word":
            yield from self._words(text)
        else:
            text = _SPACES.sub(" ", text)
            yield from (self._across_spaces(text) if self.analyzer == "char" else self._within(text))

    def _words(self, text: str) -> Iterator[str]:
        words = self._find(text)
        if self._stopped:
            words = [word for word in words if word not in self._stopped]
        low, high = self.ngrams
        if (low, high) == (1, 1):
            yield from words
            return
        for length in range(low, min(high, len(words)) + 1):
            for start in range(len(words) - length + 1):
                yield " ".join(words[start : start + length])

    def _across_spaces(self, text: str) -> Iterator[str]:
        low, high = self.ngrams
        for length in range(low, min(high, len(text)) + 1):
            for start in range(len(text) - length + 1):
                yield text[start : start + length]

    def _within(self, text: str) -> Iterator[str]:
        low, high = self.ngrams
        for word in text.split():
            padded = f" {word} "
            for length in range(low, high + 1):
                yield padded[:length]
                for start in range(1, len(padded) - length + 1):
                    yield padded[start : start + length]
                if length >= len(padded):
                    # A word shorter than the n-gram counts once.
                    break


def _ascii(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")


def _unicode(text: str) -> str:
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


_STRIPPERS = {"ascii": _ascii, "unicode": _unicode}
