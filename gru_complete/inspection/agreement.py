"""Which unit holds what a later word must agree with: number, gender or a topic, by minimal pairs.

In the right text of a pair (``evaluation/pairs.py``), the value of the unit just before the word that differs must
predict that word. Between the cue (the nearest word that decides it) and that word, the gate that writes into the unit
should stay closed: this is how a gated cell remembers.

Shapes: N pairs, T tokens, L num_layers, S state_rows, H hidden_size, U units.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gru_complete.arrays import BoolArray, FloatArray
from gru_complete.errors import CorpusError
from gru_complete.evaluation.intervals import Interval, share_interval
from gru_complete.inspection.probes import Probe, Unit, probe, state_units
from gru_complete.inspection.trace import CLOSED, TracedNetwork, TracedStep, read_in_parallel
from gru_complete.model.directory import LoadedModel
from gru_complete.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from gru_complete.evaluation.pairs import Pair  # which imports torch

MAX_NEAR_WORDS = 20
"""Pairs whose cue is more words away than this are "far": they are also counted on their own."""

_MAX_PAIRS = 10_000
_MIN_PAIRS = 20
_MAX_CLASSES = 6
_PUNCTUATION = ".,;:!?…\"'“”‘’()[]"
_CLASSES = {
    "plural": {"are", "were", "have", "do", "they", "them", "their", "theirs", "themselves"},
    "singular": {"is", "was", "has", "does", "it", "its", "itself"},
    "female": {"she", "her", "hers", "herself"},
    "male": {"he", "him", "his", "himself"},
}
_CLASS_OF = {word: name for name, words in _CLASSES.items() for word in words}


class GateStatistics(NamedTuple):
    """What the gate that writes into a unit did in the pairs that the unit was tested on.

    Attributes:
        at_cue: the mean over pairs of its largest value at the tokens of the cue.
        mean: the mean of its values between the cue and the word.
        smallest: the mean over pairs of its smallest value there.
        largest: the mean over pairs of its largest value there.
        closed: the share of pairs in which it stays closed at every token there.
    """

    at_cue: float
    mean: float
    smallest: float
    largest: float
    closed: float


class Agreement(NamedTuple):
    """The units that answer one question about a phenomenon.

    Attributes:
        feature: the phenomenon and the question, as in "verb number: plural or singular".
        probe: the units, chosen on one half of the pairs and tested on the other.
        far: the accuracy of each of them where the cue is more than ``MAX_NEAR_WORDS`` words away; None without such
            pairs.
        gates: the gate of each of them; None for a cell without gates.
    """

    feature: str
    probe: Probe
    far: tuple[Interval | None, ...]
    gates: tuple[GateStatistics | None, ...]

    def to_json(self) -> dict[str, Any]:
        """One of ``find`` in ``inspect --json``."""
        record = self.probe.to_json()
        for unit, far, gate in zip(record["units"], self.far, self.gates, strict=True):
            unit["accuracy_far"] = None if far is None else far._asdict()
            unit["gate"] = None if gate is None else gate._asdict()
        return {"feature": self.feature, **record}


class _Case(NamedTuple):
    """The right text of a pair up to the word that differs.

    Attributes:
        word: that word, in lower case, without punctuation.
        tokens: the tokens of the text before it.
        cue: which of these tokens are the cue's.
        distance: from the cue to the word, in words.
    """

    word: str
    tokens: list[int]
    cue: range
    distance: int


class _GateValues(NamedTuple):
    """The values of the gates that write into some units, in one pair.

    Attributes:
        columns: the column of each unit.
        at_cue: at the tokens of the cue, ``(T, U)``.
        between: at the tokens between cue and word, ``(T, U)``.
    """

    columns: Mapping[Unit, int]
    at_cue: FloatArray
    between: FloatArray


def find_agreement(model: LoadedModel, pairs: "Sequence[Pair]") -> list[Agreement]:
    """Find the units that hold what each phenomenon's pairs ask for.

    Units are chosen on every other pair of a phenomenon, and tested on the others.

    Args:
        model: the model.
        pairs: minimal pairs, of which the first ``_MAX_PAIRS`` are used; pairs that differ in their first word are not.

    Raises:
        CorpusError: no phenomenon has enough pairs.
    """
    network = TracedNetwork(model)
    agreements: list[Agreement] = []
    for phenomenon in sorted({pair.phenomenon for pair in pairs}):
        chosen = [pair for pair in pairs[:_MAX_PAIRS] if pair.phenomenon == phenomenon]
        cases_of_pairs = [(pair, _case(model.tokenizer, pair)) for pair in chosen]
        cases = [case for _, case in cases_of_pairs if case is not None]
        rivals = {
            frozenset((case.word, _word(pair.wrong.split()[_first_difference(pair)])))
            for pair, case in cases_of_pairs
            if case is not None
        }
        if len(cases) >= _MIN_PAIRS:
            questions = dict(_questions([case.word for case in cases], rivals, _spellings(chosen)))
            agreements += _answer(network, phenomenon, cases, questions)
    if not agreements:
        raise CorpusError(f"no phenomenon has {_MIN_PAIRS} pairs to find a unit with")
    return agreements


def _case(tokenizer: Tokenizer, pair: "Pair") -> _Case | None:
    """The case of a pair; None if its texts differ in the first word, or if the wrong one only has more words."""
    words = list(re.finditer(r"\S+", pair.right))
    index = _first_difference(pair)
    if not 0 < index < len(words):
        return None
    tokens = tokenizer.encode(pair.right[: words[index - 1].end()].encode())
    first = last = max(0, index - pair.distance)
    if first + 1 < index and words[first + 1][0][-1] in _PUNCTUATION:
        last += 1  # a comma after the cue counts as a word in the distance, so the cue is one word further right
    start, end = len(pair.right[: words[first].start()].encode()), len(pair.right[: words[last].end()].encode())
    ends = np.cumsum([len(tokenizer.pieces[token]) for token in tokens])
    starts = np.concatenate([[0], ends[:-1]])
    cue = range(int(np.searchsorted(ends, start, side="right")), int(np.searchsorted(starts, end, side="left")))
    return _Case(_word(words[index][0]), tokens, cue, pair.distance)


def _first_difference(pair: "Pair") -> int:
    """The number of the first word in which the texts of a pair differ."""
    both = zip(pair.right.split(), pair.wrong.split(), strict=False)
    return next((index for index, (right, wrong) in enumerate(both) if right != wrong), 0)


def _word(text: str) -> str:
    """A word in lower case and without punctuation."""
    return text.strip(_PUNCTUATION).lower()


def _spellings(pairs: "Sequence[Pair]") -> dict[str, str]:
    """The most frequent spelling of each word that the pairs ask for, by its ``_word``."""
    counts = Counter(
        pair.right.split()[_first_difference(pair)].strip(_PUNCTUATION) for pair in pairs if pair.right.split()
    )
    return {_word(spelling): spelling for spelling, _ in reversed(counts.most_common())}


def _questions(
    words: Sequence[str], rivals: set[frozenset[str]], spellings: Mapping[str, str]
) -> Iterator[tuple[str, BoolArray]]:
    """Yes/no questions about the words: the name of each, and its answer for every pair, ``(N,)``.

    Words of number or gender are asked for their class. If there are only two other words, they are told apart; else
    each is told apart from all others.

    Args:
        words: the word of each pair.
        rivals: the pairs of right and wrong words that occur.
        spellings: how to write the words.
    """
    classes = {_CLASS_OF.get(word, word) for two in rivals for word in two}
    if len(classes) == 2 and classes <= set(_CLASSES):
        first, second = sorted(classes)
        yield f"{first} or {second}", np.array([_CLASS_OF[word] == first for word in words])
    elif len(rivals) == 1:
        first, second = sorted(next(iter(rivals)))
        name = f"{spellings.get(first, first)} or {spellings.get(second, second)}"
        yield name, np.array([word == first for word in words])
    else:
        for word, number in Counter(words).most_common(_MAX_CLASSES):
            if number >= _MIN_PAIRS:
                yield f"{spellings[word]} or another", np.array([other == word for other in words])


def _answer(
    network: TracedNetwork, phenomenon: str, cases: Sequence[_Case], questions: Mapping[str, BoolArray]
) -> list[Agreement]:
    """Find the units that answer each question.

    Args:
        network: the network.
        phenomenon: its name.
        cases: the pairs of the phenomenon.
        questions: see ``_questions``.
    """
    states = _states_before(network, cases)
    units = state_units(states.shape[1:])
    flat = states.reshape(len(states), -1)
    is_fitted = {name: _every_other(labels) for name, labels in questions.items()}
    probes = {
        name: probe(flat, labels, is_fitted[name], units, are_independent=True) for name, labels in questions.items()
    }
    followers = [follower.unit for result in probes.values() for follower in result.followers]
    gate_values = _gate_values(network, cases, followers)
    is_far = np.array([case.distance > MAX_NEAR_WORDS for case in cases])
    agreements = []
    for name, result in probes.items():
        far = [follower.right[is_far[~is_fitted[name]]] for follower in result.followers]
        tested = [values for values, fitted in zip(gate_values, is_fitted[name], strict=True) if not fitted]
        agreements.append(
            Agreement(
                f"{phenomenon}: {name}",
                result,
                tuple(share_interval(int(right.sum()), len(right)) if len(right) else None for right in far),
                tuple(_gate_statistics(tested, follower.unit) for follower in result.followers),
            )
        )
    return agreements


def _every_other(labels: BoolArray) -> BoolArray:
    """Every other position of each of the two answers, so that both halves have both: ``(N,)``."""
    chosen = np.zeros(len(labels), bool)
    for answer in (True, False):
        chosen[np.flatnonzero(labels == answer)[::2]] = True
    return chosen


def _states_before(network: TracedNetwork, cases: Sequence[_Case]) -> FloatArray:
    """The state just before the word of each pair, ``(N, L, S, H)``."""
    states = np.empty_like(network.initial_state(len(cases)))
    lengths = np.array([len(case.tokens) for case in cases])

    def observe(position: int, rows: npt.NDArray[np.intp], step: TracedStep) -> None:
        ending = lengths[rows] == position + 1
        states[rows[ending]] = step.state[ending]

    read_in_parallel(network, [case.tokens for case in cases], observe)
    return states


def _gate_values(network: TracedNetwork, cases: Sequence[_Case], units: Sequence[Unit]) -> list[_GateValues]:
    """The values of the gates that write into some units, for each pair."""
    layers, numbers = [unit.layer for unit in units], [unit.unit for unit in units]
    longest = max(len(case.tokens) for case in cases)
    values = np.full((len(cases), longest, len(units)), np.nan, np.float32)

    def observe(position: int, rows: npt.NDArray[np.intp], step: TracedStep) -> None:
        values[rows, position] = step.gates[:, layers, 0, numbers]  # the update gate, or an LSTM's input gate

    if network.gate_names:
        read_in_parallel(network, [case.tokens for case in cases], observe)
    columns = {unit: index for index, unit in enumerate(units)}
    return [
        _GateValues(columns, rows[case.cue.start : case.cue.stop], rows[case.cue.stop : len(case.tokens)])
        for case, rows in zip(cases, values, strict=True)
    ]


def _gate_statistics(pairs: Sequence[_GateValues], unit: Unit) -> GateStatistics | None:
    """What a unit's gate did in some pairs; None without a gate, or without any token between cue and word."""
    column = pairs[0].columns[unit]
    between = [pair.between[:, column] for pair in pairs if len(pair.between)]
    if not between or np.isnan(between[0]).any():
        return None
    return GateStatistics(
        at_cue=float(np.mean([pair.at_cue[:, column].max() for pair in pairs])),
        mean=float(np.concatenate(between).mean()),
        smallest=float(np.mean([values.min() for values in between])),
        largest=float(np.mean([values.max() for values in between])),
        closed=float(np.mean([values.max() < CLOSED for values in between])),
    )
