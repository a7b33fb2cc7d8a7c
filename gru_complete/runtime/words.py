"""The most likely whole words that finish the word begun, or start the next one.

Models write tokens, people read words. The probability of a word here is that of the text continuing with it and the
word ending there (``wordbreaks.py``), whatever tokens write it: summed over the segmentations of the text's end
(``Hypotheses``) and over those of the word. What counts is where a sequence of tokens first ends a word, which is one
place in every sequence, so the probabilities of different words do not overlap.

- If the text ends inside a word or with a whole word ("On"), the words are those that begin with it ("On", "One",
  "Only"), including the word itself with nothing to add.
- If the text ends after a word ("On ", "On the left, "), they are the next words, each with everything before it. That
  is mostly nothing; after "He said" and a comma it is a space or a newline, and perhaps a quotation mark. A word is the
  same word, whatever comes before it.

The search is best-first over sequences of tokens. A boundary between tokens holds the mass (probability) of everything
that continues from it. Expanding a boundary, one step of the model, distributes its mass to words that end and to
boundaries further on. So the mass that has ended with a word is its lower bound, and that plus all mass at beginnings
of the word is its upper bound. The two meet when no boundary is left that could write the word; the most likely words
are certain when no other upper bound exceeds their lower bounds.

Shapes: B boundaries expanded together, V vocab_size.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gru_complete.arrays import Float64Array
from gru_complete.runtime.predictor import DecoderState
from gru_complete.runtime.sampling import damaged_scores
from gru_complete.runtime.segmentation import Hypotheses
from gru_complete.runtime.token_effects import TokenEffects, effects_in
from gru_complete.runtime.wordbreaks import (
    BEFORE,
    INSIDE,
    PIECE,
    WORD_PREFIX,
    State,
    begins_with_mark,
    piece_at_end,
    word_at_end,
    word_prefix,
)

MIN_EFFORT = 32
"""The search may expand at least this many boundaries by default: some milliseconds for a small model."""
EFFORT = 2
"""And this many for each word: with fewer, a long list ends in parts of words, whose wholes were not met."""
NEGLIGIBLE = 1 / 1000
"""Words with less than this share of the most likely word's probability are not listed."""

_BATCH = 4  # boundaries expanded as one product at first; later more and more, since each holds less mass
_SMALL = 1 / 1000  # of the heaviest: lighter boundaries are bounded together, not individually
_LISTED = 200  # about this many boundaries are listed individually at a time


class Word(NamedTuple):
    """A whole word that may come next.

    Attributes:
        word: all of it, including the part that the text already has.
        completion: what follows the text: the rest of the word, or the next word with everything before it. If the
            word may follow in several ways, the most likely one.
        probability: that the text continues with this word, in any of those ways, and the word ends; a lower bound.
        upper: the upper bound.
    """

    word: bytes
    completion: bytes
    probability: float
    upper: float

    @property
    def text(self) -> str:
        """The whole word as text; bytes that are no whole character become U+FFFD."""
        return self.word.decode(errors="replace")


def most_likely_words(hypotheses: Hypotheses, count: int, *, max_expansions: float | None = None) -> list[Word]:
    """Find the most likely whole words.

    Args:
        hypotheses: the segmentations of the text's end.
        count: the number of words. Fewer are found if the others are negligible or were not met, because the text is
            likely to end or the effort is small.
        max_expansions: boundaries that may be expanded; ``EFFORT`` for each word if omitted. The search ends earlier
            if it is certain of the words and their order. With ``math.inf`` it ends when their probabilities are
            exact; then ``count`` words must exist.

    Returns:
        The words, by their lower bounds, the most likely first.

    Raises:
        ModelError: the model's scores are not finite.
    """
    search = _Search(hypotheses)
    most = max(MIN_EFFORT, EFFORT * count) if max_expansions is None else max_expansions
    for bounds in search.rounds(count, most):
        if bounds.are_exact if most == math.inf else bounds.are_certain:
            break
    words = [search.word(word, bounds.upper[word]) for word in bounds.leading]
    return [word for word in words if word.probability >= NEGLIGIBLE * words[0].probability]


def is_among(hypotheses: Hypotheses, completion: bytes, counts: Sequence[int]) -> list[bool]:
    """Decide whether a completion is among those of the most likely words, without finding all of these.

    The answers are those of ``most_likely_words(hypotheses, max(counts))``, but the search ends as soon as the bounds
    decide them. Where ``most_likely_words`` would end before it is certain, an answer may be the true one instead.

    Args:
        hypotheses: the segmentations of the text's end.
        completion: what might follow the text, up to where a word ends.
        counts: at least one number n, which asks for the n most likely words.

    Returns:
        For each number n, whether the completion is that of one of the n most likely words.

    Raises:
        ModelError: the model's scores are not finite.
    """
    search = _Search(hypotheses)
    count = max(counts)
    word = word_at_end(hypotheses.segment + completion, len(hypotheses.segment))
    answers: list[bool | None] = []
    for bounds in search.rounds(count, max(MIN_EFFORT, EFFORT * count), word):
        answers = [search.decided(word, completion, number, bounds) for number in counts]
        if bounds.are_certain or None not in answers:
            break
    listed = bounds.leading
    is_listed = word in listed and search.word(word, 1.0).completion == completion
    is_listed = is_listed and search.found[word] >= NEGLIGIBLE * search.found[listed[0]]
    return [
        is_listed and listed.index(word) < number if answer is None else answer
        for number, answer in zip(counts, answers, strict=True)
    ]


class _Bounds(NamedTuple):
    """What is known about all words at one moment of the search.

    Attributes:
        leading: the words with the greatest lower bounds.
        upper: the upper bounds of all words found.
        unfound: the greatest upper bound of a word that was not found.
        are_certain: no other word can be more likely than these, and none of these than one before it.
        are_exact: in addition, each lower bound equals the upper one.
        floor: a word must exceed this to be among the most likely; 0 while there are too few words.
        reach: by the beginnings of words where mass waits, the greatest upper bound of a word with that beginning.
    """

    leading: list[bytes]
    upper: dict[bytes, float]
    unfound: float
    are_certain: bool
    are_exact: bool
    floor: float
    reach: dict[bytes, float]


class _Boundary:
    """A boundary between tokens that was expanded.

    Attributes:
        text: what was written beyond the given text.
        state: of the word.
        key: what every word that continues from there begins with, without bytes that may turn out to be past its end.
        decoder_state: where the tokens end.
        effects: of the tokens that may follow.
        masses: what continues after each of ``effects.continuing``; 0 for those that are pending individually.
        rest: the most of ``masses`` that can belong to beginnings of one word.
    """

    __slots__ = ("effects", "key", "masses", "decoder_state", "rest", "state", "text")

    def __init__(
        self,
        text: bytes,
        state: State,
        key: bytes,
        decoder_state: DecoderState,
        effects: TokenEffects,
        masses: Float64Array,
    ) -> None:
        self.text = text
        self.state = state
        self.key = key
        self.decoder_state = decoder_state
        self.effects = effects
        self.masses = masses
        self.rest = 0.0


class _Pending(NamedTuple):
    """A boundary that is not expanded yet: one token after an expanded one.

    Attributes:
        mass: the probability of its tokens.
        key: what every word that continues from there begins with.
        source: the boundary before it.
        place: of the token among ``source.effects.continuing``.
    """

    mass: float
    key: bytes
    source: _Boundary
    place: int


class _Search:
    """Best-first search over the boundaries between tokens."""

    def __init__(self, hypotheses: Hypotheses) -> None:
        self._segment = hypotheses.segment
        self._predictor = hypotheses.predictor
        self._overlay = hypotheses.overlay
        self._effects = effects_in(hypotheses.pieces)
        self.found: defaultdict[bytes, float] = defaultdict(float)  # the lower bound, by word
        self._ways: defaultdict[bytes, defaultdict[bytes, float]] = defaultdict(lambda: defaultdict(float))
        self._expanded: list[_Boundary] = []
        self._pending: list[_Pending] = []
        word, state = word_prefix(self._segment)
        key = word if state.place == INSIDE else b""
        for log_weight, decoder_state, remainder, log_probabilities in hypotheses.rows():
            masses = np.exp(log_weight + log_probabilities.astype(np.float64))
            self._place(b"", state, key, decoder_state, self._effects.find(state, remainder), masses)
        self._threshold = math.inf
        self._lower_threshold()

    def rounds(self, count: int, most: float, wanted: bytes | None = None) -> Iterator[_Bounds]:
        """Run the search; yield the bounds before each expansion and at the end.

        Args:
            count: the number of words wanted.
            most: boundaries that may be expanded.
            wanted: a word that is bounded even if it is not found.
        """
        spent = 0
        while True:
            bounds = self.bounds(count, wanted)
            self.forget(bounds)
            yield bounds
            if spent >= most:
                return
            batch = self.pop_heaviest(int(min(max(_BATCH, spent // 4), most - spent)))
            if not batch:
                return
            self.expand(batch)
            spent += len(batch)

    def decided(self, word: bytes, completion: bytes, count: int, bounds: _Bounds) -> bool | None:
        """Decide whether a word is one of the most likely ones, with a certain completion; None if it is still open.

        Args:
            word: the word.
            completion: what follows the text, up to where the word ends.
            count: asks for this many most likely words.
            bounds: the latest.
        """
        lower, upper = self.found.get(word, 0.0), bounds.upper[word]
        if sum(self.found[other] > upper for other in bounds.leading if other != word) >= count:
            return False
        if word not in bounds.leading:
            return None
        ways = self._ways[word]
        way = ways.get(completion, 0.0)
        if any(mass > upper - mass for other, mass in ways.items() if other != completion):
            return False
        above = sum(bound > lower for other, bound in bounds.upper.items() if other != word)
        is_certain = above < count and bounds.unfound <= lower and way > upper - way
        return True if is_certain and lower >= NEGLIGIBLE * max(bounds.upper.values()) else None

    def bounds(self, count: int, wanted: bytes | None = None) -> _Bounds:
        """Bound every word, found or not.

        A word's lower bound is the mass that has ended with it. Its upper bound adds the mass that waits at all
        beginnings of the word: in the sorted list of texts these lie on a path, which is kept as a stack.

        Args:
            count: the number of words wanted.
            wanted: a word that is bounded even if it is not found.
        """
        found = self.found
        waiting = self._waiting_masses()
        leading = sorted(found, key=lambda text: (-found[text], text))[:count]
        upper: dict[bytes, float] = {}
        others = unfound = 0.0  # the greatest upper bound of a word that is not among the leading, or not found
        texts = sorted({*waiting, *found} if wanted is None else {*waiting, *found, wanted})
        masses: list[float] = []  # what waits at beginnings of each text
        greatest: list[float] = []  # the upper bound of each text
        parents: list[int] = []  # the longest other text that each begins with; -1 if there is none
        path: list[int] = []
        for index, text in enumerate(texts):
            while path and not text.startswith(texts[path[-1]]):
                path.pop()
            parents.append(path[-1] if path else -1)
            path.append(index)
            waits = waiting.get(text, 0.0)
            mass = waits + masses[parents[-1]] if parents[-1] >= 0 else waits
            masses.append(mass)
            if waits > 0 and mass > unfound:
                unfound = mass
            greatest.append(found.get(text, 0.0) + mass)
            if text in found or text == wanted:
                upper[text] = greatest[-1]
                if text not in leading:
                    others = max(others, greatest[-1])
        others = max(others, unfound)
        reach = dict(zip(texts, _greatest_below(greatest, parents), strict=True))
        floor = found[leading[-1]] if len(leading) == count else 0.0
        lower = [found[text] for text in leading]
        bests = [upper[text] for text in leading]
        are_certain = floor > 0 and all(low >= other for low, other in zip(lower, [*bests[1:], others], strict=True))
        return _Bounds(leading, upper, unfound, are_certain, are_certain and lower == bests, floor, reach)

    def forget(self, bounds: _Bounds) -> None:
        """Forget boundaries that can no longer change which words are the most likely."""
        reach, floor = bounds.reach, bounds.floor
        self._pending = [item for item in self._pending if reach[item.key] > floor]
        self._expanded = [boundary for boundary in self._expanded if boundary.rest and reach[boundary.key] > floor]

    def _waiting_masses(self) -> defaultdict[bytes, float]:
        """The mass that is not expanded yet, by what its words begin with."""
        waiting: defaultdict[bytes, float] = defaultdict(float)
        for item in self._pending:
            waiting[item.key] += item.mass
        for boundary in self._expanded:
            waiting[boundary.key] += boundary.rest
        return waiting

    def pop_heaviest(self, most: int) -> list[_Pending]:
        """Remove and return the pending boundaries with the most mass, at most ``most``."""
        self._pending.sort(key=lambda item: -item.mass)
        rest = max((boundary.rest for boundary in self._expanded), default=0.0)
        while rest > (self._pending[0].mass if self._pending else 0.0):  # must not outweigh the listed ones
            self._lower_threshold()
            self._pending.sort(key=lambda item: -item.mass)
            rest = max((boundary.rest for boundary in self._expanded), default=0.0)
        batch = self._pending[:most]
        del self._pending[:most]
        return batch

    def expand(self, batch: Sequence[_Pending]) -> None:
        """Read one more token at each of some boundaries, as one product."""
        tokens = [int(item.source.effects.continuing[item.place]) for item in batch]
        decoder_states = self._predictor.step_many([item.source.decoder_state for item in batch], tokens)
        rows = np.exp(self._predictor.log_probabilities(decoder_states, self._overlay))
        if not math.isfinite(float(rows.sum())):
            raise damaged_scores()
        first = len(self._expanded)
        for (mass, key, source, place), decoder_state, row in zip(batch, decoder_states, rows, strict=True):
            text, state = source.text + source.effects.added[place], source.effects.states[place]
            self._place(text, state, key, decoder_state, self._effects.find(state, b""), mass * row.astype(np.float64))
        self._list_heavy(self._expanded[first:])

    def word(self, word: bytes, upper: float) -> Word:
        """Return a word that was found."""
        ways, probability = self._ways[word], self.found[word]
        completion = max(sorted(ways), key=ways.__getitem__)
        if begins_with_mark(word) and completion.startswith(word):
            word = piece_at_end(self._segment) + word
        return Word(word, completion, probability, upper)

    def _place(
        self,
        text: bytes,
        state: State,
        key: bytes,
        decoder_state: DecoderState,
        effects: TokenEffects,
        masses: Float64Array,
    ) -> None:
        """Add a boundary: distribute the masses of all tokens to the words that end and to what continues.

        Args:
            text: what was written beyond the given text.
            state: of the word there.
            key: what every word that continues from there begins with.
            decoder_state: where the tokens end.
            effects: of the tokens that may follow.
            masses: of the tokens, ``(V,)``.
        """
        ending = np.bincount(effects.groups, masses[effects.ending], len(effects.ends)).tolist()
        beginning = key + state.tail
        for (dropped, added), new_word, mass in zip(effects.ends, effects.words, ending, strict=True):
            if mass:
                completion = text[: max(0, len(text) - dropped)] + added
                if state.place in (INSIDE, PIECE):
                    word = beginning[: len(beginning) - dropped] + added
                elif state.place == BEFORE:
                    word = new_word
                else:
                    word = word_at_end(self._segment + completion, len(self._segment))
                self.found[word] += mass
                self._ways[word][completion] += mass
        if len(effects.continuing):
            self._expanded.append(_Boundary(text, state, key, decoder_state, effects, masses[effects.continuing]))

    def _key_after(self, boundary: _Boundary, index: int) -> bytes:
        """What every word begins with that continues after one more token, ``boundary.effects.continuing[index]``."""
        effects = boundary.effects
        if boundary.state.place != WORD_PREFIX:
            return boundary.key + effects.keys[index]
        after = effects.states[index]
        if after.place not in (INSIDE, PIECE):
            return b""
        text = self._segment + boundary.text + effects.added[index]
        return word_at_end(text[: len(text) - len(after.tail)], len(self._segment))

    def _list_heavy(self, boundaries: Sequence[_Boundary]) -> None:
        """List continuations with at least the threshold's mass individually as pending; bound the rest together."""
        for boundary in boundaries:
            masses = boundary.masses
            for index in np.flatnonzero(masses >= self._threshold).tolist():
                self._pending.append(_Pending(float(masses[index]), self._key_after(boundary, index), boundary, index))
                masses[index] = 0.0
            boundary.rest = boundary.effects.heaviest_chain(masses)

    def _lower_threshold(self) -> None:
        """List more boundaries individually: those with some mass compared with the heaviest, but not too many."""
        if self._expanded:
            masses = np.concatenate([boundary.masses for boundary in self._expanded])
            few = min(_LISTED, len(masses))
            self._threshold = max(_SMALL * float(masses.max()), float(np.partition(masses, -few)[-few]))
            self._list_heavy(self._expanded)


def _greatest_below(values: Sequence[float], parents: Sequence[int]) -> list[float]:
    """Return for each node of a tree the greatest value of it and all nodes below; children come after parents."""
    greatest = list(values)
    for index in range(len(greatest) - 1, -1, -1):
        if parents[index] >= 0 and greatest[index] > greatest[parents[index]]:
            greatest[parents[index]] = greatest[index]
    return greatest
