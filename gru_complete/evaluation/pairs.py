"""Minimal pairs: two texts that differ in one word, of which only one is right. Does the model find it more likely?

A pair's *credit* is 1 if the model gives the right text the higher probability, 0 if the wrong one, and 1/2 for a tie,
as in Marvin and Linzen 2018 (arXiv:1808.09031), who settle ties with a coin. The accuracy is the mean credit.

Shapes: N pairs.
"""

import codecs
import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gru_complete.arrays import Float64Array, TokenIds
from gru_complete.errors import CorpusError
from gru_complete.ngrams.mixture import NGramMixture
from gru_complete.nn.language_model import LanguageModel
from gru_complete.text.normal_form import NormalForm, in_form
from gru_complete.text.tokenizer import DOCUMENT_END, Tokenizer
from gru_complete.training.scoring import document_nats

DISTANCE_ENDS = (5, 10, 20, 40, 60)
"""The largest distance, in words, of each group of ``DISTANCE_LABELS`` but the last, which is open."""
DISTANCE_LABELS = ("1-5", "6-10", "11-20", "21-40", "41-60", "61+")
"""The names of the groups of distances; they are JSON keys."""
MAX_FILE_BYTES = 100_000_000


@dataclass(frozen=True)
class Pair:
    """One line of a pairs file.

    Args:
        right: the right text.
        wrong: the same text with one wrong word.
        phenomenon: what that word must agree with, such as "pronoun gender".
        distance: words from the cue to the word that differs.
    """

    right: str
    wrong: str
    phenomenon: str
    distance: int

    def in_form(self, form: NormalForm | None) -> "Pair":
        """The pair in the normal form of a model."""
        return replace(self, right=in_form(self.right, form), wrong=in_form(self.wrong, form))


@dataclass(frozen=True)
class PairScore:
    """How often the model was right: ``accuracy`` from 0 to 1, over ``num_pairs``."""

    accuracy: float
    num_pairs: int

    @classmethod
    def from_credits(cls, credits: Float64Array) -> "PairScore":
        """Average the credits of some pairs, at least one: ``(N,)``."""
        return cls(float(credits.mean()), len(credits))

    def to_json(self) -> dict[str, float | int]:
        """Both figures."""
        return {"accuracy": self.accuracy, "pairs": self.num_pairs}


@dataclass(frozen=True)
class PairsReport:
    """The score over all pairs, by phenomenon and by distance."""

    overall: PairScore
    by_phenomenon: dict[str, PairScore]
    by_distance: dict[str, PairScore]

    @classmethod
    def from_credits(cls, pairs: Sequence[Pair], credits: Float64Array) -> "PairsReport":
        """Group the credits of ``score_pairs``, ``(N,)``; the distances are in ascending order."""
        by_distance = _score_groups([distance_label(pair.distance) for pair in pairs], credits)
        return cls(
            overall=PairScore.from_credits(credits),
            by_phenomenon=_score_groups([pair.phenomenon for pair in pairs], credits),
            by_distance={label: by_distance[label] for label in DISTANCE_LABELS if label in by_distance},
        )

    def to_json(self) -> dict[str, Any]:
        """The value of ``pairs`` in ``eval --json``."""
        return {
            **self.overall.to_json(),
            "by_phenomenon": {name: score.to_json() for name, score in self.by_phenomenon.items()},
            "by_distance": {name: score.to_json() for name, score in self.by_distance.items()},
        }


def read_pairs(path: Path) -> list[Pair]:
    """Read a file with one JSON object per line: right, wrong, phenomenon, distance.

    A byte order mark and blank lines are skipped. The two texts may be equal, as in some public benchmarks: a tie.

    Raises:
        CorpusError: the file cannot be read, is empty, or has a line that is not a pair; the message names the line.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CorpusError(f"cannot read pairs {str(path)!r}: {str(error.strerror).lower()}") from None
    if len(data) > MAX_FILE_BYTES:
        raise CorpusError(f"{path} is larger than {MAX_FILE_BYTES:,} bytes: not a pairs file")
    pairs = []
    for number, line in enumerate(data.removeprefix(codecs.BOM_UTF8).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            pairs.append(_parse_pair(line))
        except (ValueError, KeyError, TypeError, RecursionError):
            message = f"{path}, line {number}: not a pair with right, wrong, phenomenon and distance"
            raise CorpusError(message) from None
    if not pairs:
        raise CorpusError(f"{path} holds no pairs")
    return pairs


def _parse_pair(line: bytes) -> Pair:
    """Check one line of a pairs file, which a stranger may have written.

    Raises:
        ValueError, KeyError, TypeError, RecursionError: it is not a pair.
    """
    raw = json.loads(line)
    pair = Pair(raw["right"], raw["wrong"], raw["phenomenon"], raw["distance"])
    if not all(isinstance(text, str) for text in (pair.right, pair.wrong, pair.phenomenon)):
        raise TypeError
    _ = [text.encode() for text in (pair.right, pair.wrong, pair.phenomenon)]  # JSON can hold half a character
    if type(pair.distance) is not int or pair.distance < 0:
        raise ValueError
    return pair


def evaluate_pairs(
    module: LanguageModel, tokenizer: Tokenizer, pairs: Sequence[Pair], *, mixture: NGramMixture | None = None
) -> PairsReport:
    """Score both texts of every pair; arguments as for ``score_pairs``."""
    return PairsReport.from_credits(pairs, score_pairs(module, tokenizer, pairs, mixture=mixture))


def score_pairs(
    module: LanguageModel, tokenizer: Tokenizer, pairs: Sequence[Pair], *, mixture: NGramMixture | None = None
) -> Float64Array:
    """Give every pair its credit: 1, 0 or, for a tie, 1/2.

    Each text is read from the start of a document. That the document ends after it is not scored: the text may be the
    beginning of a longer one.

    Args:
        module: the network.
        tokenizer: the network's tokenizer.
        pairs: what to score.
        mixture: the n-gram model to mix in; the network is scored alone if omitted.

    Returns:
        The credits, ``(N,)``.
    """
    right_nats = document_nats(module, [_encode(tokenizer, pair.right) for pair in pairs], mixture=mixture)
    wrong_nats = document_nats(module, [_encode(tokenizer, pair.wrong) for pair in pairs], mixture=mixture)
    return np.where(right_nats < wrong_nats, 1.0, np.where(right_nats == wrong_nats, 0.5, 0.0))


def distance_label(distance: int) -> str:
    """Return the group of a distance in words, such as "6-10"."""
    return DISTANCE_LABELS[bisect_left(DISTANCE_ENDS, distance)]


def _encode(tokenizer: Tokenizer, text: str) -> TokenIds:
    return np.array([DOCUMENT_END, *tokenizer.encode(text.encode())], dtype=np.int64)


def _score_groups(labels: Sequence[str], credits: Float64Array) -> dict[str, PairScore]:
    """Score the pairs with the same label together; the labels are sorted."""
    return {name: PairScore.from_credits(credits[np.array(labels) == name]) for name in sorted(set(labels))}
