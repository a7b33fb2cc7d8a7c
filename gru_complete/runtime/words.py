"""The likeliest whole words that finish the word begun, or start the next one.

Models write tokens, people read words. The probability of a word here is that of the text going on with it and the word
ending there (``wordbreaks.py``), whatever tokens write it: summed over the segmentations of the text's end that
``Hypotheses`` holds and over those of the word. What is counted is where a sequence of tokens first ends a word, which
is one place in every sequence, so the words' probabilities do not overlap.

- A text that ends inside a word, or with a whole word ("On"): the words that it may be the beginning of ("On", "One",
  "Only"), the word as it stands among them, with nothing to add.
- A text that ends after a word ("On ", "On the left, "): the next word, with all that comes before it. Mostly that is
  nothing; after "He said" and a comma it is a space or a newline, and maybe a quotation mark. A word is one word,
  whatever comes before it.

The search is best-first over sequences of tokens. A boundary between tokens holds the mass of all that goes on from
it. Expanding it, one step of the model, turns that into words that end and boundaries further on. So a word has as its
lower bound the mass that has ended with it, and as its upper bound that and all mass which stands at beginnings of it.
Both meet when nothing is left to expand that could write the word, and the likeliest words are certain when no other
upper bound exceeds their lower ones.

Shapes: V vocab_size.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from gru_complete.arrays import Float64Array, IndexArray
from gru_complete.errors import ModelError
from gru_complete.runtime.piece_index import PieceIndex
from gru_complete.runtime.predictor import DecoderState
from gru_complete.runtime.segmentation import Hypotheses
from gru_complete.runtime.wordbreaks import BEFORE, INSIDE, WORD_PREFIX, End, State, read, word_at_end, word_prefix
from gru_complete.text.tokenizer import DOCUMENT_END

MIN_EFFORT = 32
"""Boundaries that may be expanded at least, by default: some milliseconds for a small model."""
EFFORT = 2
"""And so many for each word: with fewer, a long list ends in parts of words, whose wholes were not met."""
NEGLIGIBLE = 1 / 1000
"""What has less than this of the likeliest word's probability is not listed."""

_BATCH = 4  # boundaries that are expanded as one product at first; then more and more, for they weigh less and less
_SMALL = 1 / 1000  # of the heaviest: what is lighter is bounded together, not one by one
_LISTED = 200  # about so many are looked at one by one before lighter ones are
_KEPT_EFFECTS = 1000


class Word(NamedTuple):
    """A whole word that the text may go on with.

    Attributes:
        word: all of it, what the text has of it included.
        completion: what follows the text: the rest of the word, or what comes before the next word, and that. Where the
            word may follow in several ways, the likeliest.
        probability: that the text goes on with this word, in any of those ways, and it ends; a lower bound.
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


def likeliest_words(hypotheses: Hypotheses, count: int, *, max_expansions: float | None = None) -> list[Word]:
    """Find the likeliest whole words.

    Args:
        hypotheses: the segmentations of the text's end.
        count: how many words. Fewer are found where others are negligible, or were not met: the text is likely to end,
            or the effort is small.
        max_expansions: boundaries that may be expanded; if omitted, ``EFFORT`` for each word. The search ends sooner
            when it is certain of the words and their order. With ``math.inf`` it ends when their probabilities are
            exact; so many words must exist then.

    Returns:
        The words, the likeliest (by their lower bounds) first.
    """
    search = _Search(hypotheses)
    most = max(MIN_EFFORT, EFFORT * count) if max_expansions is None else max_expansions
    for bounds in search.rounds(count, most):
        if bounds.are_exact if most == math.inf else bounds.are_certain:
            break
    words = [search.word(word, bounds.upper[word]) for word in bounds.likeliest]
    return [word for word in words if word.probability >= NEGLIGIBLE * words[0].probability]


def is_among(hypotheses: Hypotheses, completion: bytes, counts: Sequence[int]) -> list[bool]:
    """Say whether a completion is that of one of the likeliest words, without finding all of those.

    The answers are those of ``likeliest_words(hypotheses, max(counts))``, but the search ends as soon as the bounds
    tell them. Only where it would end before it is certain may an answer be the right one instead of that of the list.

    Args:
        hypotheses: the segmentations of the text's end.
        completion: what might follow the text, up to where a word ends.
        counts: among how many of the likeliest words; at least one number.

    Returns:
        For each count whether it is that of one of so many words.
    """
    search = _Search(hypotheses)
    count = max(counts)
    word = word_at_end(hypotheses.segment + completion, len(hypotheses.segment))
    answers: list[bool | None] = []
    for bounds in search.rounds(count, max(MIN_EFFORT, EFFORT * count), word):
        answers = [search.decided(word, completion, number, bounds) for number in counts]
        if bounds.are_certain or None not in answers:
            break
    listed = bounds.likeliest
    is_listed = word in listed and search.word(word, 1.0).completion == completion
    is_listed = is_listed and search.found[word] >= NEGLIGIBLE * search.found[listed[0]]
    return [
        is_listed and listed.index(word) < number if answer is None else answer
        for number, answer in zip(counts, answers, strict=True)
    ]


class _Bounds(NamedTuple):
    """What is known of all words at a moment.

    Attributes:
        likeliest: the words with the greatest lower bounds.
        upper: the upper bounds of all words found.
        unfound: the greatest upper bound of a word that was not found.
        are_certain: no other word can be likelier than these, and none of these than one before it.
        are_exact: besides, each lower bound is the upper one.
    """

    likeliest: list[bytes]
    upper: dict[bytes, float]
    unfound: float
    are_certain: bool
    are_exact: bool


class _Boundary:
    """A boundary between tokens that was expanded.

    Attributes:
        text: what stands there beyond the given text.
        state: of the word.
        key: what every word that goes on from there begins with; not the bytes that may turn out to be past its end.
        decoder_state: the model's.
        effects: of the tokens that may follow.
        masses: what goes on after each of ``effects.on``; 0 for those that are pending by themselves.
        rest: the most of ``masses`` that can stand at beginnings of one word.
    """

    __slots__ = ("effects", "key", "masses", "decoder_state", "rest", "state", "text")

    def __init__(
        self,
        text: bytes,
        state: State,
        key: bytes,
        decoder_state: DecoderState,
        effects: _Effects,
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
    """A boundary that is not expanded: after one token of an expanded one.

    Attributes:
        mass: the probability of its tokens.
        key: what every word that goes on from there begins with.
        source: the boundary before it.
        place: of the token among ``source.effects.on``.
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
        self._effects = _effects_in(hypotheses.pieces)
        self.found: defaultdict[bytes, float] = defaultdict(float)  # the lower bound, by word
        self._ways: defaultdict[bytes, defaultdict[bytes, float]] = defaultdict(lambda: defaultdict(float))
        self._expanded: list[_Boundary] = []
        self._pending: list[_Pending] = []
        word, state = word_prefix(self._segment)
        key = word if state.place == INSIDE else b""
        for log_weight, decoder_state, remainder, log_probabilities in hypotheses.rows():
            masses = np.exp(log_weight + log_probabilities.astype(np.float64))
            self._place(b"", state, key, decoder_state, self._effects.of(state, remainder), masses)
        self._threshold = math.inf
        self._lower_threshold()

    def rounds(self, count: int, most: float, wanted: bytes | None = None) -> Iterator[_Bounds]:
        """Search on and on; yields the bounds before each expansion, and the last ones.

        Args:
            count: how many words are looked for.
            most: boundaries that may be expanded.
            wanted: a word that is bounded even if it is not found.
        """
        spent = 0
        yield self.bounds(count, wanted)
        while spent < most and (batch := self.pop_heaviest(int(min(max(_BATCH, spent // 4), most - spent)))):
            self.expand(batch)
            spent += len(batch)
            yield self.bounds(count, wanted)

    def decided(self, word: bytes, completion: bytes, count: int, bounds: _Bounds) -> bool | None:
        """Say whether a word, by this completion, is one of the ``count`` likeliest, if that can be said by now."""
        lower, upper = self.found.get(word, 0.0), bounds.upper[word]
        if sum(self.found[other] > upper for other in bounds.likeliest if other != word) >= count:
            return False
        if word not in bounds.likeliest:
            return None
        ways = self._ways[word]
        way = ways.get(completion, 0.0)
        if any(mass > upper - mass for other, mass in ways.items() if other != completion):
            return False
        above = sum(bound > lower for other, bound in bounds.upper.items() if other != word)
        is_certain = above < count and bounds.unfound <= lower and way > upper - way
        return True if is_certain and lower >= NEGLIGIBLE * max(bounds.upper.values()) else None

    def bounds(self, count: int, wanted: bytes | None = None) -> _Bounds:
        """Bound every word, found or not; forget what cannot change the result."""
        found = self.found
        waiting: defaultdict[bytes, float] = defaultdict(float)  # mass, by what its words begin with
        for item in self._pending:
            waiting[item.key] += item.mass
        for boundary in self._expanded:
            waiting[boundary.key] += boundary.rest
        likeliest = sorted(found, key=lambda text: (-found[text], text))[:count]
        # What a word must exceed to be among them. Then no upper bound of what is forgotten is greater.
        floor = found[likeliest[-1]] if len(likeliest) == count else 0.0
        upper: dict[bytes, float] = {}
        others = unfound = 0.0  # the greatest upper bound of a word that is not among the likeliest, or not found
        texts = sorted({*waiting, *found} if wanted is None else {*waiting, *found, wanted})
        masses: list[float] = []  # what stands at beginnings of each text
        greatest: list[float] = []  # the upper bounds of each text, then also of those that begin with it
        before: list[int] = []  # the longest other text that each begins with, -1 for none
        path: list[int] = []
        for index, text in enumerate(texts):
            while path and not text.startswith(texts[path[-1]]):
                path.pop()
            before.append(path[-1] if path else -1)
            path.append(index)
            waits = waiting.get(text, 0.0)
            mass = waits + masses[before[-1]] if before[-1] >= 0 else waits
            masses.append(mass)
            if waits > 0 and mass > unfound:
                unfound = mass
            greatest.append(found.get(text, 0.0) + mass)
            if text in found or text == wanted:
                upper[text] = greatest[-1]
                if text not in likeliest:
                    others = max(others, greatest[-1])
        for index in range(len(texts) - 1, -1, -1):
            if before[index] >= 0 and greatest[index] > greatest[before[index]]:
                greatest[before[index]] = greatest[index]
        others = max(others, unfound)
        reach = dict(zip(texts, greatest, strict=True))
        self._pending = [item for item in self._pending if reach[item.key] > floor]
        self._expanded = [boundary for boundary in self._expanded if boundary.rest and reach[boundary.key] > floor]
        lower = [found[text] for text in likeliest]
        bests = [upper[text] for text in likeliest]
        are_certain = floor > 0 and all(low >= other for low, other in zip(lower, [*bests[1:], others], strict=True))
        return _Bounds(likeliest, upper, unfound, are_certain, are_certain and lower == bests)

    def pop_heaviest(self, most: int) -> list[_Pending]:
        """Take the heaviest boundaries that are pending."""
        self._pending.sort(key=lambda item: -item.mass)
        rest = max((boundary.rest for boundary in self._expanded), default=0.0)
        while rest > (self._pending[0].mass if self._pending else 0.0):  # it must not outweigh what is listed
            self._lower_threshold()
            self._pending.sort(key=lambda item: -item.mass)
            rest = max((boundary.rest for boundary in self._expanded), default=0.0)
        batch = self._pending[:most]
        del self._pending[:most]
        return batch

    def expand(self, batch: Sequence[_Pending]) -> None:
        """Read one more token at each of some boundaries, as one product."""
        tokens = [int(item.source.effects.on[item.place]) for item in batch]
        decoder_states = self._predictor.step_many([item.source.decoder_state for item in batch], tokens)
        rows = np.exp(self._predictor.log_probabilities(decoder_states, self._overlay))
        if not math.isfinite(float(rows.sum())):
            raise ModelError(
                "the model's scores are not finite numbers", hint="train it again: its weights are damaged"
            )
        first = len(self._expanded)
        for (mass, key, source, place), decoder_state, row in zip(batch, decoder_states, rows, strict=True):
            text, state = source.text + source.effects.added[place], source.effects.states[place]
            self._place(text, state, key, decoder_state, self._effects.of(state, b""), mass * row.astype(np.float64))
        self._list_heavy(self._expanded[first:])

    def word(self, word: bytes, upper: float) -> Word:
        """Return a word that was found."""
        ways = self._ways[word]
        completion = max(sorted(ways), key=ways.__getitem__)
        return Word(word, completion, self.found[word], upper)

    def _place(
        self,
        text: bytes,
        state: State,
        key: bytes,
        decoder_state: DecoderState,
        effects: _Effects,
        masses: Float64Array,
    ) -> None:
        """Take in a boundary: the masses of all tokens, ``(V,)``, go to the words that end and to what goes on."""
        ending = np.bincount(effects.groups, masses[effects.over], len(effects.ends)).tolist()
        known = key + state.tail
        for (dropped, added), own, mass in zip(effects.ends, effects.words, ending, strict=True):
            if mass:
                completion = text[: max(0, len(text) - dropped)] + added
                if state.place == INSIDE:
                    word = known[: len(known) - dropped] + added
                else:
                    word = own if state.place == BEFORE else word_at_end(self._segment + completion, len(self._segment))
                self.found[word] += mass
                self._ways[word][completion] += mass
        if len(effects.on):
            self._expanded.append(_Boundary(text, state, key, decoder_state, effects, masses[effects.on]))

    def _key_after(self, boundary: _Boundary, index: int) -> bytes:
        """What every word begins with that goes on after one more token, ``boundary.effects.on[index]``."""
        effects = boundary.effects
        if boundary.state.place != WORD_PREFIX:
            return boundary.key + effects.keys[index]
        after = effects.states[index]
        if after.place != INSIDE:
            return b""
        text = self._segment + boundary.text + effects.added[index]
        return word_prefix(text[: len(text) - len(after.tail)])[0]

    def _list_heavy(self, boundaries: Sequence[_Boundary]) -> None:
        """Make what goes on with a mass of at least the threshold pending by itself; bound the rest."""
        for boundary in boundaries:
            masses = boundary.masses
            for index in np.flatnonzero(masses >= self._threshold).tolist():
                self._pending.append(_Pending(float(masses[index]), self._key_after(boundary, index), boundary, index))
                masses[index] = 0.0
            boundary.rest = boundary.effects.heaviest_chain(masses)

    def _lower_threshold(self) -> None:
        """Let more boundaries pend by themselves: those that weigh something beside the heaviest, but not too many."""
        if self._expanded:
            masses = np.concatenate([boundary.masses for boundary in self._expanded])
            few = min(_LISTED, len(masses))
            self._threshold = max(_SMALL * float(masses.max()), float(np.partition(masses, -few)[-few]))
            self._list_heavy(self._expanded)


class _Effects:
    """What tokens do to a word in some state, after some remainder.

    Attributes:
        on: tokens after which it is not over.
        added: what each of them adds to the text.
        states: of the word after each of them.
        keys: what each of them adds to what the word begins with for certain.
        over: tokens with which it ends.
        groups: which of ``ends`` each of them does.
        ends: how many bytes of the text turn out to be past the word, and which of the token belong to it.
        words: the word of each end, if it has begun after the state.
    """

    def __init__(self, pieces: PieceIndex, state: State, remainder: bytes) -> None:
        _, longer, stop = pieces.range(remainder)
        tokens = pieces.order[longer:stop].tolist()  # sorted by their bytes
        if not remainder:
            tokens.append(DOCUMENT_END)
        going, over, ends = [], [], []
        for token in tokens:
            added = pieces.pieces[token][len(remainder) :]
            after = read(state, added)
            if isinstance(after, State):
                going.append((token, added, after))
            elif isinstance(after, End):
                over.append(token)
                ends.append((max(0, -after.offset), added[: max(0, after.offset)]))
        depths = _depths([_key(state, added, after) for _, added, after in going])
        going = [going[index] for index in np.argsort(depths, kind="stable")]
        self.on: IndexArray = np.array([token for token, _, _ in going], np.intp)
        self.added = [added for _, added, _ in going]
        self.states = [after for _, _, after in going]
        self.keys = [_key(state, added, after) for _, added, after in going]
        self.over: IndexArray = np.array(over, np.intp)
        self.ends = sorted(set(ends))
        self.words = [word_at_end(state.tail + added, len(state.tail)) for _, added in self.ends]
        self.groups: IndexArray = np.array([self.ends.index(end) for end in ends], np.intp)
        self._levels = np.searchsorted(np.sort(depths), range(max(depths, default=-1) + 1))

    def heaviest_chain(self, masses: Float64Array) -> float:
        """Bound the mass, of ``masses`` after each of ``on``, that can stand at beginnings of one word."""
        return float(np.maximum.reduceat(masses, self._levels).sum())  # one at each depth


class _EffectsInVocabulary:
    """The effects of a vocabulary's tokens, found when they are asked for."""

    def __init__(self, pieces: PieceIndex) -> None:
        self._pieces = pieces
        self._found: dict[tuple[State, bytes], _Effects] = {}

    def of(self, state: State, remainder: bytes) -> _Effects:
        """Return the effects in a state after a remainder."""
        key = state, remainder
        if key not in self._found:
            if len(self._found) >= _KEPT_EFFECTS:
                self._found.clear()
            self._found[key] = _Effects(self._pieces, state, remainder)
        return self._found[key]


_effects_in = lru_cache(maxsize=2)(_EffectsInVocabulary)  # finding them takes milliseconds


def _key(state: State, added: bytes, after: State) -> bytes:
    """Return what is certain of a word by some bytes more: nothing of what only comes before it."""
    if after.place != INSIDE:
        return b""  # any word may follow
    text = state.tail + added
    text = text[: len(text) - len(after.tail)]
    return text if state.place == INSIDE else word_prefix(text)[0]


def _depths(texts: Sequence[bytes]) -> list[int]:
    """Count for each text the others that it begins with; of equal texts each begins with the one before it."""
    depths = [0] * len(texts)
    path: list[bytes] = []
    for index in sorted(range(len(texts)), key=texts.__getitem__):
        while path and not texts[index].startswith(path[-1]):
            path.pop()
        depths[index] = len(path)
        path.append(texts[index])
    return depths
