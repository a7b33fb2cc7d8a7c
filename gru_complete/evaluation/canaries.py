"""Canaries: secrets planted in a training text, to measure how much of them a model gives away.

A canary is a line ``Zukaro: 48213`` with an invented name and a random number. A model that was trained on it gives a
probability to each of the 100,000 numbers that could follow the name. The exposure of the canary (Carlini et al. 2019,
"The Secret Sharer", USENIX Security) compares the rank of its number with the number of candidates::

    exposure = log2 (number of candidates) - log2 (rank)

in bits. It is 16.6 if the number ranks first; a number that was never planted may have any rank, so its exposure is
1.44 on average. The rank is exact, not estimated. A name is found nowhere else in the text and shares no syllable with
another name, so that no canary helps to find another.

The probability of a number is that of its digits, one token each, as the tokenizer cuts numbers. The sum over all token
sequences that spell the number, bytes in place of digits included, differed by at most 0.015 nats where it was tried.

Shapes: B readings scored together, V vocab_size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gru_complete.arrays import Float64Array, FloatArray
from gru_complete.errors import ModelError
from gru_complete.runtime.predictor import DecoderState, Predictor
from gru_complete.text.tokenizer import Tokenizer

NUM_DIGITS = 5
_BLOCK_SIZE = 256  # prefixes that are read side by side
_MARGIN = 0.01  # nats: more than the rounding error between two ways to compute one probability


class Canary(NamedTuple):
    """A line that is planted in a text.

    Attributes:
        name: an invented word.
        number: the secret, digits.
        times: how many copies are planted.
    """

    name: str
    number: str
    times: int

    @property
    def prefix(self) -> bytes:
        """The text before the number, as the tokenizer sees it in a text: after the end of a line."""
        return f"\n{self.name}: ".encode()

    @property
    def line(self) -> bytes:
        """The line to plant."""
        return f"{self.name}: {self.number}\n".encode()


def exposure(rank: float, num_candidates: int = 10**NUM_DIGITS) -> float:
    """How many bits of the secret the model gives away: from 0 to log2 of ``num_candidates``."""
    return math.log2(num_candidates) - math.log2(rank)


def exposure_by_chance(num_candidates: int = 10**NUM_DIGITS) -> float:
    """The mean exposure if all ranks are equally likely."""
    return math.log2(num_candidates) - math.lgamma(num_candidates + 1) / math.log(2) / num_candidates


def rank_canary(canary: Canary, tokenizer: Tokenizer, predictors: Sequence[Predictor]) -> list[float]:
    """Rank a canary's number among all numbers after its name, under several models.

    Args:
        canary: what to look for.
        tokenizer: the tokenizer of all models.
        predictors: models that share one network; the first keeps all the state that the others need.

    Raises:
        ModelError: the tokenizer does not cut numbers into digits.
    """
    every_digit = b" 0123456789"
    digits = tokenizer.encode(every_digit)[-10:]
    text = canary.prefix + canary.number.encode()
    tokens = tokenizer.encode(text)
    prefix_length = len(tokens) - len(canary.number)
    number = [int(digit) for digit in canary.number]
    is_split = [tokenizer.pieces[token] for token in digits] == [bytes([byte]) for byte in every_digit[1:]]
    if not is_split or tokens[prefix_length:] != [digits[digit] for digit in number]:
        raise ModelError("the model's tokenizer does not cut numbers into digits")
    first = predictors[0]
    start = first.read(first.start(), tokens[:prefix_length])
    return rank_number(first, [predictor.log_probabilities for predictor in predictors], start, digits, number)


def rank_number(
    predictor: Predictor,
    scorers: Sequence[Callable[[Sequence[DecoderState]], FloatArray]],
    start: DecoderState,
    digits: Sequence[int],
    number: Sequence[int],
) -> list[float]:
    """Rank a number exactly among all numbers with as many digits.

    All numbers form a trie, which is read digit by digit. A log probability only falls on the way down::

        start (0.0) --+-- 0 (-0.4) --+-- 00 (-0.9)
                      |              +-- 01 (-2.5)
                      |              +-- ...
                      +-- 1 (-3.1)                  pruned if the number to rank has -2.5
                      +-- ...

    So no number below a prefix can rank before the number if the prefix is already less likely than the whole number,
    and such prefixes are pruned. With several models a prefix is pruned only if it is less likely under all of them.
    Pruning changes no rank.

    Args:
        predictor: reads digits.
        scorers: for each model, log probabilities of the next token after each of B readings, ``(B, V)``.
        start: the state before the number.
        digits: the tokens of the digits 0 to 9.
        number: the digits of the number to rank.

    Returns:
        The rank under each model: 1 for the most likely number; of equally likely numbers, the mean of their ranks.
    """
    target = _score_number(predictor, scorers, start, [digits[digit] for digit in number])
    # One entry for each prefix that is left: its state, its log probability under each model, and its value.
    states, sums, prefixes = [start], np.zeros((1, len(scorers))), np.zeros(1, np.int64)
    for position in range(len(number)):
        blocks = [states[first : first + _BLOCK_SIZE] for first in range(0, len(states), _BLOCK_SIZE)]
        scores = [np.stack([score(block)[:, digits] for score in scorers], axis=-1) for block in blocks]
        # Rounding may give a log probability above 0, which would lift a number over its own prefix.
        sums = (sums[:, None] + np.minimum(np.concatenate(scores), 0)).reshape(-1, len(scorers))
        prefixes = (10 * prefixes[:, None] + np.arange(10)).reshape(-1)
        if position == len(number) - 1:
            break
        kept = np.flatnonzero((sums >= target - _MARGIN).any(axis=1))
        parents, tokens = [states[index // 10] for index in kept], [digits[index % 10] for index in kept]
        sums, prefixes, states = sums[kept], prefixes[kept], []
        for first in range(0, len(kept), _BLOCK_SIZE):
            states += predictor.step_many(parents[first : first + _BLOCK_SIZE], tokens[first : first + _BLOCK_SIZE])
    # The number's own sum is taken from the trie, so that it is compared with sums rounded in the same way.
    own_sum = sums[prefixes == int("".join(map(str, number)))]
    num_before, num_equal = (sums > own_sum).sum(axis=0), (sums == own_sum).sum(axis=0)
    ranks: list[float] = (num_before + (num_equal + 1) / 2).tolist()
    return ranks


def _score_number(
    predictor: Predictor,
    scorers: Sequence[Callable[[Sequence[DecoderState]], FloatArray]],
    state: DecoderState,
    tokens: Sequence[int],
) -> Float64Array:
    """The log probability of some tokens under each model; arguments as for ``rank_number``."""
    sums = np.zeros(len(scorers))
    for token in tokens:
        sums += [float(score([state])[0, token]) for score in scorers]
        state = predictor.step(state, token)
    return sums


@dataclass(frozen=True)
class LevelResult:
    """How well one model knows the canaries that were planted equally often.

    Args:
        times: how many copies of each were planted.
        ranks: the rank of each canary's number.
    """

    times: int
    ranks: tuple[float, ...]

    @property
    def exposure(self) -> float:
        """The mean exposure, in bits."""
        return math.fsum(map(exposure, self.ranks)) / len(self.ranks)

    @property
    def num_first(self) -> int:
        """How many rank first among all numbers."""
        return sum(rank == 1 for rank in self.ranks)

    @property
    def mean_rank(self) -> float:
        """The geometric mean of the ranks, which is the rank with the mean exposure."""
        return math.exp(math.fsum(map(math.log, self.ranks)) / len(self.ranks))

    def to_json(self) -> dict[str, Any]:
        """Figures and ranks."""
        mean = {"exposure": self.exposure, "rank_geometric_mean": self.mean_rank}
        return {**mean, "first": self.num_first, "ranks": list(self.ranks)}


@dataclass(frozen=True)
class CanaryReport:
    """What a training memorises.

    Args:
        steps: the number of steps of the training.
        levels: the results of the whole model, by ``times`` in ascending order.
        network_levels: the results of the network alone; None if the model has no n-grams.
    """

    steps: int
    levels: Sequence[LevelResult]
    network_levels: Sequence[LevelResult] | None

    @classmethod
    def from_ranks(cls, steps: int, canaries: Sequence[Canary], ranks: Sequence[Sequence[float]]) -> CanaryReport:
        """Group what ``rank_canary`` returned for each canary, by the number of copies planted.

        Args:
            steps: the number of steps of the training.
            canaries: all canaries.
            ranks: for each canary its rank under the whole model and, if it has n-grams, under the network alone.
        """
        pairs = list(zip(ranks, canaries, strict=True))
        by_model = [
            [
                LevelResult(
                    times, tuple(canary_ranks[model] for canary_ranks, canary in pairs if canary.times == times)
                )
                for times in sorted({canary.times for canary in canaries})
            ]
            for model in range(len(ranks[0]))
        ]
        return cls(steps, by_model[0], by_model[1] if len(by_model) > 1 else None)

    @property
    def conclusion(self) -> str:
        """What the results mean, in a sentence."""
        rarest, *others = [level for level in self.levels if level.times]
        start = f"of {len(rarest.ranks)} numbers planted {_times(rarest.times)}, {rarest.num_first} rank first"
        if rarest.num_first < len(rarest.ranks):
            rank = f"mean rank {rarest.mean_rank:,.0f} of {10**NUM_DIGITS:,}"
            start += f" ({rank}; by chance {_rank_by_chance():,.0f})"
        some = [level.times for level in others if level.num_first]
        every: list[int] = []
        for level in reversed(others):
            if level.num_first < len(level.ranks):
                break
            every.insert(0, level.times)
        if not some:
            return f"{start}; none of those planted up to {_times(others[-1].times)} does"
        if every == some:
            return f"{start}; all of those planted {_times(every[0])} or more do"
        end = f", and all of those planted {_times(every[0])} or more" if every else ""
        return f"{start}; some of those planted {_times(some[0])} or more do{end}"

    def to_json(self) -> dict[str, Any]:
        """The value of ``secrets`` in ``eval --json``."""
        by_network = self.network_levels
        return {
            "steps": self.steps,
            "candidates": 10**NUM_DIGITS,
            "most_exposure": exposure(1),
            "exposure_by_chance": exposure_by_chance(),
            "planted": [
                {
                    "times": level.times,
                    **level.to_json(),
                    **({} if by_network is None else {"network_alone": by_network[index].to_json()}),
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
