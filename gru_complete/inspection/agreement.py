"""Which unit holds what a later word must agree with: number, gender or a topic, by the pairs of ``pairs.py``.

In the right text of a pair, what the unit holds just before the word that the wrong text gets wrong has to tell which
word it is to be. Between the cue (the nearest word that says so) and that word, the gate that writes into the unit
ought to stay closed: that is how a gated cell keeps something in mind.
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
    """What the gate that writes into a unit did, on the pairs that the unit was tried on.

    Attributes:
        at_cue: the mean over pairs of its largest value at the cue's tokens.
        mean: of its values between the cue and the word.
        smallest: the mean over pairs of the smallest value there.
        largest: the mean over pairs of the largest value there.
        closed: the share of pairs in which it is closed at every token there.
    """

    at_cue: float
    mean: float
    smallest: float
    largest: float
    closed: float


class Agreement(NamedTuple):
    """What was found of one question.

    Attributes:
        feature: the phenomenon and what there is to be told, as in "verb number: plural or singular".
        probe: the units that tell, chosen on one half of the pairs and tried on the other.
        far: the accuracy of each of them where the cue is more than ``MAX_NEAR_WORDS`` words away; None without such
            pairs.
        gates: of each of them; None of an ``rnn``.
    """

    feature: str
    probe: Probe
    far: tuple[Interval | None, ...]
    gates: tuple[GateStatistics | None, ...]

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``inspect --json``."""
        record = self.probe.to_json()
        for unit, far, gate in zip(record["units"], self.far, self.gates, strict=True):
            unit["accuracy_far"] = None if far is None else far._asdict()
            unit["gate"] = None if gate is None else gate._asdict()
        return {"feature": self.feature, **record}


class _Place(NamedTuple):
    """A pair up to the word that differs.

    Attributes:
        word: that word of the right text, in lower case, without punctuation.
        tokens: of the text before it.
        cue: which of the tokens are the cue's.
        distance: from the cue to the word, in words.
    """

    word: str
    tokens: list[int]
    cue: range
    distance: int


class _Way(NamedTuple):
    """The gate that writes into some units, in one pair.

    Attributes:
        columns: where each unit's values stand.
        at_cue: at the tokens of the cue, ``(tokens, units)``.
        between: at those between cue and word, ``(tokens, units)``.
    """

    columns: Mapping[Unit, int]
    at_cue: FloatArray
    between: FloatArray


def find_agreement(model: LoadedModel, pairs: "Sequence[Pair]") -> list[Agreement]:
    """Look for the units that tell what each phenomenon's pairs ask for.

    Every other pair of a phenomenon is fitted on, the rest is for the accuracies.

    Args:
        model: the model.
        pairs: the first ``_MAX_PAIRS`` of them are used; those that differ in their first word tell nothing.

    Raises:
        CorpusError: no phenomenon has enough pairs.
    """
    network = TracedNetwork(model)
    found: list[Agreement] = []
    for phenomenon in sorted({pair.phenomenon for pair in pairs}):
        own = [pair for pair in pairs[:_MAX_PAIRS] if pair.phenomenon == phenomenon]
        placed = [(pair, _place(model.tokenizer, pair)) for pair in own]
        places = [place for _, place in placed if place is not None]
        rivals = {
            frozenset((place.word, _word(pair.wrong.split()[_parting(pair)])))
            for pair, place in placed
            if place is not None
        }
        if len(places) >= _MIN_PAIRS:
            questions = dict(_questions([place.word for place in places], rivals, _spellings(own)))
            found += _answers(network, phenomenon, places, questions)
    if not found:
        raise CorpusError(f"no phenomenon has {_MIN_PAIRS} pairs to find a unit with")
    return found


def _place(tokenizer: Tokenizer, pair: "Pair") -> _Place | None:
    """Where the texts of a pair part; None if at once, or if the wrong one only has words more."""
    words = list(re.finditer(r"\S+", pair.right))
    index = _parting(pair)
    if not 0 < index < len(words):
        return None
    tokens = tokenizer.encode(pair.right[: words[index - 1].end()].encode())
    first = last = max(0, index - pair.distance)
    if first + 1 < index and words[first + 1][0][-1] in _PUNCTUATION:
        last += 1  # what follows the cue counts as a word if it is a comma: then the cue is one further
    start, end = len(pair.right[: words[first].start()].encode()), len(pair.right[: words[last].end()].encode())
    ends = np.cumsum([len(tokenizer.pieces[token]) for token in tokens])
    starts = np.concatenate([[0], ends[:-1]])
    cue = range(int(np.searchsorted(ends, start, side="right")), int(np.searchsorted(starts, end, side="left")))
    return _Place(_word(words[index][0]), tokens, cue, pair.distance)


def _parting(pair: "Pair") -> int:
    """The number of the first word in which the texts of a pair differ."""
    both = zip(pair.right.split(), pair.wrong.split(), strict=False)
    return next((index for index, (one, other) in enumerate(both) if one != other), 0)


def _word(text: str) -> str:
    """A word as it is compared: in lower case, without punctuation."""
    return text.strip(_PUNCTUATION).lower()


def _spellings(pairs: "Sequence[Pair]") -> dict[str, str]:
    """How the words that pairs ask for are mostly written, by what ``_word`` makes of them."""
    counts = Counter(pair.right.split()[_parting(pair)].strip(_PUNCTUATION) for pair in pairs if pair.right.split())
    return {_word(spelling): spelling for spelling, _ in reversed(counts.most_common())}


def _questions(
    words: Sequence[str], rivals: set[frozenset[str]], spellings: Mapping[str, str]
) -> Iterator[tuple[str, BoolArray]]:
    """What there is to be told: a name, and of each pair whether it is the first of two cases, ``(N,)``.

    Words of number or gender are told by that. Others are told apart if there are only two, else each from the rest.

    Args:
        words: the word of each pair.
        rivals: which words stand against each other.
        spellings: how to write them.
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


def _answers(
    network: TracedNetwork, phenomenon: str, places: Sequence[_Place], questions: Mapping[str, BoolArray]
) -> list[Agreement]:
    """Find the units for each question about the same pairs."""
    states = _states_before(network, places)
    units = state_units(states.shape[1:])
    flat = states.reshape(len(states), -1)
    fitted = {name: _every_other(labels) for name, labels in questions.items()}
    probes = {
        name: probe(flat, labels, fitted[name], units, are_independent=True) for name, labels in questions.items()
    }
    ways = _ways(network, places, [follower.unit for found in probes.values() for follower in found.followers])
    is_far = np.array([place.distance > MAX_NEAR_WORDS for place in places])
    answers = []
    for name, found in probes.items():
        far = [follower.right[is_far[~fitted[name]]] for follower in found.followers]
        tried = [way for way, is_fitted in zip(ways, fitted[name], strict=True) if not is_fitted]
        answers.append(
            Agreement(
                f"{phenomenon}: {name}",
                found,
                tuple(share_interval(int(right.sum()), len(right)) if len(right) else None for right in far),
                tuple(_gate(tried, follower.unit) for follower in found.followers),
            )
        )
    return answers


def _every_other(labels: BoolArray) -> BoolArray:
    """Every other place of each of the two cases, so that both halves have both: ``(N,)``."""
    chosen = np.zeros(len(labels), bool)
    for case in (True, False):
        chosen[np.flatnonzero(labels == case)[::2]] = True
    return chosen


def _states_before(network: TracedNetwork, places: Sequence[_Place]) -> FloatArray:
    """The states just before the words, ``(N, L, S, H)``."""
    states = np.empty_like(network.initial_state(len(places)))
    lengths = np.array([len(place.tokens) for place in places])

    def see(position: int, rows: npt.NDArray[np.intp], step: TracedStep) -> None:
        ending = lengths[rows] == position + 1
        states[rows[ending]] = step.state[ending]

    read_in_parallel(network, [place.tokens for place in places], see)
    return states


def _ways(network: TracedNetwork, places: Sequence[_Place], units: Sequence[Unit]) -> list[_Way]:
    """What the gate that writes into some units did in each pair."""
    layers, numbers = [unit.layer for unit in units], [unit.unit for unit in units]
    longest = max(len(place.tokens) for place in places)
    values = np.full((len(places), longest, len(units)), np.nan, np.float32)

    def see(position: int, rows: npt.NDArray[np.intp], step: TracedStep) -> None:
        values[rows, position] = step.gates[:, layers, 0, numbers]  # the update gate, or an LSTM's input gate

    if network.gate_names:
        read_in_parallel(network, [place.tokens for place in places], see)
    columns = {unit: index for index, unit in enumerate(units)}
    return [
        _Way(columns, rows[place.cue.start : place.cue.stop], rows[place.cue.stop : len(place.tokens)])
        for place, rows in zip(places, values, strict=True)
    ]


def _gate(ways: Sequence[_Way], unit: Unit) -> GateStatistics | None:
    """What a unit's gate did in some pairs; None where there is no gate, or no token between cue and word."""
    column = ways[0].columns[unit]
    between = [way.between[:, column] for way in ways if len(way.between)]
    if not between or np.isnan(between[0]).any():
        return None
    return GateStatistics(
        at_cue=float(np.mean([way.at_cue[:, column].max() for way in ways])),
        mean=float(np.concatenate(between).mean()),
        smallest=float(np.mean([values.min() for values in between])),
        largest=float(np.mean([values.max() for values in between])),
        closed=float(np.mean([values.max() < CLOSED for values in between])),
    )
