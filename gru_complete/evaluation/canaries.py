"""Secrets that were planted to be looked for: how likely a model finds them, of all that could stand in their place.

A canary is a line ``Zukaro: 48213`` with an invented name and a random number. A model that was trained on it is asked
for the probability of each of the 100,000 numbers after the name. The rank of the right one is exact, and so is

    exposure = log2 (how many numbers there are) - log2 (rank)

in bits (Carlini et al. 2019, "The Secret Sharer", USENIX Security): the number comes first at 16.6, and one that was
never planted has any rank, which makes 1.44 on average. The name stands nowhere else and shares no syllable with that
of another canary, so that one does not help to find the next.

The probability of a number is that of its tokens, which are its digits: the one way in which the tokenizer cuts it.
Summed over all ways, bytes in place of digits among them, it differed by 0.015 nats at most where that was tried.

Shapes: M models, N beginnings of numbers, V vocab_size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gru_complete.arrays import FloatArray
from gru_complete.errors import ModelError
from gru_complete.runtime.predictor import DecoderState, Predictor
from gru_complete.text.tokenizer import Tokenizer

NUM_DIGITS = 5
_BLOCK = 256  # beginnings that are read side by side
_MARGIN = 0.01  # nats: more than rounding makes of one probability in two ways


class Canary(NamedTuple):
    """A line that is planted so many times.

    Attributes:
        name: an invented word.
        number: the secret, digits.
        times: how often it is planted.
    """

    name: str
    number: str
    times: int

    @property
    def prefix(self) -> bytes:
        """What stands before the number, as the tokenizer sees it in a text: after the end of a line."""
        return f"\n{self.name}: ".encode()

    @property
    def line(self) -> bytes:
        """What is planted."""
        return f"{self.name}: {self.number}\n".encode()


def exposure(rank: float, candidates: int = 10**NUM_DIGITS) -> float:
    """How many bits of the secret the model gives away; 0 to log2 of all candidates."""
    return math.log2(candidates) - math.log2(rank)


def exposure_by_chance(candidates: int = 10**NUM_DIGITS) -> float:
    """The mean exposure of a rank that any candidate has with the same probability."""
    return math.log2(candidates) - math.lgamma(candidates + 1) / math.log(2) / candidates


def rank_canary(canary: Canary, tokenizer: Tokenizer, predictors: Sequence[Predictor]) -> list[float]:
    """The rank of a canary's number among all numbers after its name, under each of some models.

    Args:
        canary: what to look for.
        tokenizer: that of the models.
        predictors: models with one and the same network; the first has all that the others need.

    Raises:
        ModelError: numbers are not cut digit by digit.
    """
    every_digit = b" 0123456789"
    digits = tokenizer.encode(every_digit)[-10:]
    text = canary.prefix + canary.number.encode()
    tokens = tokenizer.encode(text)
    split = len(tokens) - len(canary.number)
    number = [int(digit) for digit in canary.number]
    is_split = [tokenizer.pieces[token] for token in digits] == [bytes([byte]) for byte in every_digit[1:]]
    if not is_split or tokens[split:] != [digits[digit] for digit in number]:
        raise ModelError("the model's tokenizer does not cut numbers into digits")
    first = predictors[0]
    start = first.read(first.start(), tokens[:split])
    return rank_number(first, [predictor.log_probabilities for predictor in predictors], start, digits, number)


def rank_number(
    predictor: Predictor,
    scorers: Sequence[Callable[[Sequence[DecoderState]], FloatArray]],
    start: DecoderState,
    digits: Sequence[int],
    number: Sequence[int],
) -> list[float]:
    """The exact rank of a number among all of its length: 1 for the likeliest, of equals the mean of their ranks.

    The tree of all numbers is read digit by digit. What begins less likely than the whole number is, under all models,
    has nothing in it that could come before the number, so it is left out; that changes no rank.

    Args:
        predictor: reads on.
        scorers: M models: log probabilities of the next token after each of some readings, ``(N, V)``.
        start: what stands before the number.
        digits: the tokens of the digits 0 to 9.
        number: the right digits.
    """
    floor = np.zeros(len(scorers))
    reading = start
    for digit in number:
        floor += [float(score([reading])[0, digits[digit]]) for score in scorers]
        reading = predictor.step(reading, digits[digit])
    readings, sums, begun = [start], np.zeros((1, len(scorers))), np.zeros(1, np.int64)
    for position in range(len(number)):
        blocks = [readings[first : first + _BLOCK] for first in range(0, len(readings), _BLOCK)]
        scores = [np.stack([score(block)[:, digits] for score in scorers], axis=-1) for block in blocks]
        # No probability is over 1, but for rounding, which must not lift a number over its beginning.
        sums = (sums[:, None] + np.minimum(np.concatenate(scores), 0)).reshape(-1, len(scorers))
        begun = (10 * begun[:, None] + np.arange(10)).reshape(-1)
        if position == len(number) - 1:
            break
        kept = np.flatnonzero((sums >= floor - _MARGIN).any(axis=1))
        parents, tokens = [readings[index // 10] for index in kept], [digits[index % 10] for index in kept]
        sums, begun, readings = sums[kept], begun[kept], []
        for first in range(0, len(kept), _BLOCK):
            readings += predictor.step_many(parents[first : first + _BLOCK], tokens[first : first + _BLOCK])
    right = sums[begun == int("".join(map(str, number)))]
    before, equal = (sums > right).sum(axis=0), (sums == right).sum(axis=0)
    ranks: list[float] = (before + (equal + 1) / 2).tolist()
    return ranks


@dataclass(frozen=True)
class LevelResult:
    """What came out for the canaries that were planted so many times, under one model.

    Args:
        times: how many times.
        ranks: of each canary.
    """

    times: int
    ranks: tuple[float, ...]

    @property
    def exposure(self) -> float:
        """The mean, in bits."""
        return math.fsum(map(exposure, self.ranks)) / len(self.ranks)

    @property
    def num_first(self) -> int:
        """How many are the likeliest of all numbers."""
        return sum(rank == 1 for rank in self.ranks)

    @property
    def mean_rank(self) -> float:
        """The rank that has this exposure: the geometric mean."""
        return math.exp(math.fsum(map(math.log, self.ranks)) / len(self.ranks))

    def to_json(self) -> dict[str, Any]:
        """Figures and ranks."""
        mean = {"exposure": self.exposure, "rank_geometric_mean": self.mean_rank}
        return {**mean, "first": self.num_first, "ranks": list(self.ranks)}


@dataclass(frozen=True)
class CanaryReport:
    """What a training learns by heart.

    Args:
        steps: of the training.
        levels: by how often they were planted, ascending, of the whole model.
        network_levels: the same of the network alone; None where there is nothing else.
    """

    steps: int
    levels: Sequence[LevelResult]
    network_levels: Sequence[LevelResult] | None

    @classmethod
    def from_ranks(cls, steps: int, canaries: Sequence[Canary], ranks: Sequence[Sequence[float]]) -> CanaryReport:
        """Group what ``rank_canary`` returned for each canary, by the number of times that it was planted."""
        pairs = list(zip(ranks, canaries, strict=True))
        by_model = [
            [
                LevelResult(times, tuple(found[model] for found, canary in pairs if canary.times == times))
                for times in sorted({canary.times for canary in canaries})
            ]
            for model in range(len(ranks[0]))
        ]
        return cls(steps, by_model[0], by_model[1] if len(by_model) > 1 else None)

    @property
    def conclusion(self) -> str:
        """What it means, in a sentence."""
        once, *others = [level for level in self.levels if level.times]
        said = f"standing in the text {_times(once.times)}, {once.num_first} of {len(once.ranks)} numbers come first"
        if once.num_first < len(once.ranks):
            rank = f"mean rank {once.mean_rank:,.0f} of {10**NUM_DIGITS:,}"
            said += f" ({rank}, by chance {_rank_by_chance():,.0f})"
        some = [level.times for level in others if level.num_first]
        every: list[int] = []
        for level in reversed(others):
            if level.num_first < len(level.ranks):
                break
            every.insert(0, level.times)
        if not some:
            return f"{said}; up to {_times(others[-1].times)} none does"
        if every == some:
            return f"{said}; from {_times(every[0])} on all do"
        tail = f", from {_times(every[0])} on all" if every else ""
        return f"{said}; from {_times(some[0])} on some do{tail}"

    def to_json(self) -> dict[str, Any]:
        """What stands under ``secrets`` in ``eval --json``."""
        alone = self.network_levels
        return {
            "steps": self.steps,
            "candidates": 10**NUM_DIGITS,
            "most_exposure": exposure(1),
            "exposure_by_chance": exposure_by_chance(),
            "planted": [
                {
                    "times": level.times,
                    **level.to_json(),
                    **({} if alone is None else {"network_alone": alone[index].to_json()}),
                }
                for index, level in enumerate(self.levels)
            ],
            "conclusion": self.conclusion,
        }


def _rank_by_chance() -> float:
    """The geometric mean of all ranks."""
    return float(10**NUM_DIGITS / 2 ** exposure_by_chance())


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
