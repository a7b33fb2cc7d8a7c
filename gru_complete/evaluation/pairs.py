"""Minimal pairs: two texts that differ in one word; the model is right where it finds the right one likelier.

A tie counts one half, as in Marvin and Linzen 2018 (1808.09031) where it is settled by a coin.
"""

import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gru_complete.errors import CorpusError
from gru_complete.ngrams.mixture import NGramMixture
from gru_complete.nn.language_model import LanguageModel
from gru_complete.text.tokenizer import DOCUMENT_END, Tokenizer
from gru_complete.training.scoring import document_nats

DISTANCE_ENDS = (5, 10, 20, 40, 60)
DISTANCE_LABELS = ("1-5", "6-10", "11-20", "21-40", "41-60", "61+")
MAX_FILE_BYTES = 100_000_000


@dataclass(frozen=True)
class Pair:
    """One line of a pairs file.

    Args:
        right: the text that is right.
        wrong: the same with one wrong word.
        phenomenon: what the word must agree with, e.g. "pronoun gender".
        distance: words from the cue to the word that differs.
    """

    right: str
    wrong: str
    phenomenon: str
    distance: int


@dataclass(frozen=True)
class PairScore:
    """How often the model was right: ``accuracy`` 0 to 1, over ``num_pairs``."""

    accuracy: float
    num_pairs: int

    def to_json(self) -> dict[str, float | int]:
        """Both figures."""
        return {"accuracy": self.accuracy, "pairs": self.num_pairs}


@dataclass(frozen=True)
class PairsReport:
    """The score over all pairs and by group."""

    overall: PairScore
    by_phenomenon: dict[str, PairScore]
    by_distance: dict[str, PairScore]

    def to_json(self) -> dict[str, Any]:
        """What stands under ``pairs`` in ``eval --json``."""
        return {
            **self.overall.to_json(),
            "by_phenomenon": {name: score.to_json() for name, score in self.by_phenomenon.items()},
            "by_distance": {name: score.to_json() for name, score in self.by_distance.items()},
        }


def read_pairs(path: Path) -> list[Pair]:
    """Read a file with one JSON object per line: right, wrong, phenomenon, distance.

    Raises:
        CorpusError: the file cannot be read, or a line of it is something else; the line's number is named.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CorpusError(f"cannot read pairs {str(path)!r}: {str(error.strerror).lower()}") from None
    if len(data) > MAX_FILE_BYTES:
        raise CorpusError(f"{path} is larger than {MAX_FILE_BYTES:,} bytes: not a pairs file")
    pairs = []
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            raw = json.loads(line)
            pair = Pair(raw["right"], raw["wrong"], raw["phenomenon"], raw["distance"])
            if not all(isinstance(text, str) for text in (pair.right, pair.wrong, pair.phenomenon)):
                raise TypeError
            _ = [text.encode() for text in (pair.right, pair.wrong, pair.phenomenon)]  # JSON can hold half a character
            if type(pair.distance) is not int or pair.distance < 0 or pair.right == pair.wrong:
                raise ValueError
        except (ValueError, KeyError, TypeError, RecursionError):
            message = f"{path}, line {number}: not a pair with right, wrong, phenomenon and distance"
            raise CorpusError(message) from None
        pairs.append(pair)
    if not pairs:
        raise CorpusError(f"{path} holds no pairs")
    return pairs


def evaluate_pairs(
    module: LanguageModel, tokenizer: Tokenizer, pairs: Sequence[Pair], *, mixture: NGramMixture | None = None
) -> PairsReport:
    """Score both texts of every pair from the start of a document; neither's document end counts."""
    return summarise(pairs, pair_credits(module, tokenizer, pairs, mixture=mixture))


def pair_credits(
    module: LanguageModel, tokenizer: Tokenizer, pairs: Sequence[Pair], *, mixture: NGramMixture | None = None
) -> npt.NDArray[np.float64]:
    """1 where the model is right, 0 where it is wrong, 1/2 for a tie: of each pair, ``(N,)``."""
    right_nats = document_nats(module, [_tokens(tokenizer, pair.right) for pair in pairs], mixture=mixture)
    wrong_nats = document_nats(module, [_tokens(tokenizer, pair.wrong) for pair in pairs], mixture=mixture)
    return np.where(right_nats < wrong_nats, 1.0, np.where(right_nats == wrong_nats, 0.5, 0.0))


def summarise(pairs: Sequence[Pair], credits: npt.NDArray[np.float64]) -> PairsReport:
    """The score over all pairs and by group, from what ``pair_credits`` gave."""
    by_distance = _grouped([distance_label(pair.distance) for pair in pairs], credits)
    return PairsReport(
        overall=score_of(credits),
        by_phenomenon=_grouped([pair.phenomenon for pair in pairs], credits),
        by_distance={label: by_distance[label] for label in DISTANCE_LABELS if label in by_distance},
    )


def distance_label(distance: int) -> str:
    """The group of a distance in words, e.g. "6-10"."""
    return DISTANCE_LABELS[bisect_left(DISTANCE_ENDS, distance)]


def _tokens(tokenizer: Tokenizer, text: str) -> npt.NDArray[np.int64]:
    return np.array([DOCUMENT_END, *tokenizer.encode(text.encode())], dtype=np.int64)


def _grouped(labels: Sequence[str], credits: npt.NDArray[np.float64]) -> dict[str, PairScore]:
    return {name: score_of(credits[np.array(labels) == name]) for name in sorted(set(labels))}


def score_of(credits: npt.NDArray[np.float64]) -> PairScore:
    """The mean of the credits of some pairs, at least one."""
    return PairScore(float(credits.mean()), len(credits))
