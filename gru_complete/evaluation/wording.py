"""Unusual wording: words in whose place the model would rather have put another, given what comes before and after.

Every word of a text is compared with the words of the model's vocabulary. A word w is found where another one, a, is
likely to have been meant::

    odds = P(before a after) / P(before w after) * slip(w | a)                      found: odds >= threshold
    slip(w | a) = c(w) exp(S cos(e_w, e_a)) / (sum over words v: c(v) exp(S cos(e_v, e_a)))

The first factor, the *ratio*, is what the model says of the two texts. Alone it finds every rare word, for a common one
is nearly always likelier. The second is how likely a slip that hits the place of ``a`` leaves ``w`` there: the more
likely, the more often w is written at all (c, the counts' probability of it) and the more alike both are used (e, the
rows of the embedding, less their mean). So a rare word is found only where it fits worse than it does elsewhere, and
"her" in the place of "his" or "were" in that of "was" sooner than any two words. This is a noisy channel (Kernighan,
Church and Gale 1990), with the channel taken from the model itself; it knows no language.

What comes after is the rest of the word's segment (``text/tokenizer.py``) and the next ``lookahead`` tokens. In a first
pass all is scored in its one canonical segmentation, and an alternative is dropped as soon as it falls behind; what is
left is scored text-exact: the word's own segment, and the byte that ends it, summed over its segmentations.

The context is the text as it stands, words that were found included: it is what its writer says, and where the model
is wrong it would otherwise go on being wrong.

Shapes: C words of the vocabulary, E embedding_size, V vocab_size.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gru_complete.evaluation.segment_reader import MANY, Segment, SegmentReader
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.predictor import Predictor, Reading
from gru_complete.runtime.segmentation import Hypotheses
from gru_complete.runtime.stepper import FloatArray

DEFAULT_THRESHOLD = 5.0
DEFAULT_LOOKAHEAD = 10
"""Tokens after the word. On prose for tuning 4 did nearly as well and 2 worse; 20 did no better on the demo's pairs."""

_SHARPNESS = 6.0  # S; on prose 4 to 10 did as well, on the demo's pairs 5 and 7 worse
_UNLIKE = -0.1  # the cosine for words that the vocabulary has in parts only: that of words that have little in common
_HEAD_START = 8.0  # nats: what is further below the threshold before anything after the word is read, is not tried
_PATIENCE = 5.0  # nats: nor is what falls so far below it while that is read. Both cost 2 % of what is found at most
_MOST_TRIALS = 24  # alternatives of a word that are tried
_MOST_EXACT = 3  # and that are looked at text-exact, and reported
_MARGIN = 1.0  # nats that text-exact scores may add to the others
_NEAR = (
    2  # segments: of findings so near each other only the likeliest is reported, for one slip makes its neighbours odd
)
_MOST_REMAINDERS = 64  # whose words are kept
_FREQUENT = 1000  # words that the sum over v runs over

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


class Alternative(NamedTuple):
    """A word that the model would rather have put in the place.

    Attributes:
        word: as it would stand there.
        ratio: how many times likelier the text is with it.
        odds: the same, times how likely a slip is to leave the other word in its place: what is compared with the
            threshold.
    """

    word: str
    ratio: float
    odds: float


class Finding(NamedTuple):
    """A word that is unusual where it stands.

    Attributes:
        line: from 1.
        column: of its first character, counted in characters from 1.
        offset: of its first character, counted in characters from 0, in the whole text.
        word: the word.
        alternatives: at least one, by falling odds.
    """

    line: int
    column: int
    offset: int
    word: str
    alternatives: tuple[Alternative, ...]


class Words:
    """The vocabulary's whole words after the same bytes, as alternatives.

    Attributes:
        tokens: one for each word, ``(C,)``.
        words: what each writes after those bytes.
        vectors: how each is used, ``(C, E)``, of length 1.
        log_sums: the logarithm of the sum over v in the slips of each, ``(C,)``.
    """

    def __init__(self, tokens: Indices, words: list[str], vectors: FloatArray, log_sums: Floats) -> None:
        self.tokens = tokens
        self.words = words
        self.vectors = vectors
        self.log_sums = log_sums


class Slips:
    """How likely a slip is to leave one word where another was meant; see the module.

    Args:
        completer: the model.
    """

    def __init__(self, completer: Completer) -> None:
        self._pieces = completer.pieces
        self._memory = completer.predictor.memory
        self.unigrams = self._unigrams(completer.predictor)
        self._vectors = _directions(completer.predictor.stepper.embedding, self.unigrams)
        self._token_of: dict[str, int] = {}  # that writes a word by itself; after a space, if there is one
        for start in (b"", b" "):
            for token, piece in enumerate(self._pieces.pieces):
                word = _whole_word(piece, start)
                if word is not None:
                    self._token_of[word] = token
        frequent = np.array(list(self._token_of.values()), np.intp)
        frequent = frequent[np.argsort(-self.unigrams[frequent], kind="stable")[:_FREQUENT]]
        self._frequent = self._vectors[frequent]
        self._frequent_shares = np.exp(self.unigrams[frequent])
        self._words: dict[bytes, Words] = {}

    def words_after(self, remainder: bytes) -> Words:
        """The words that one token writes after it wrote these bytes, mostly a space."""
        found = self._words.get(remainder)
        if found is None:
            first, _, stop = self._pieces.range(remainder)
            tokens, words = [], []
            for token in self._pieces.order[first:stop].tolist():
                word = _whole_word(self._pieces.pieces[token], remainder)
                if word is not None:
                    tokens.append(token)
                    words.append(word)
            vectors = self._vectors[
                [self._token_of.get(word, token) for word, token in zip(words, tokens, strict=True)]
            ]
            sums = np.concatenate(
                [
                    np.exp(_SHARPNESS * part @ self._frequent.T) @ self._frequent_shares
                    for part in np.array_split(vectors, 1 + len(vectors) // 1024)
                ]
            )
            found = Words(np.array(tokens, np.intp), words, vectors, np.log(np.maximum(sums, 1e-30)))
            if len(self._words) >= _MOST_REMAINDERS:
                self._words.clear()
            self._words[remainder] = found
        return found

    def log_probabilities(self, word: str, tokens: Sequence[int], words: Words) -> Floats:
        """The log probability that a slip which hits each of some words leaves ``word`` there, ``(C,)``.

        Args:
            word: what stands there.
            tokens: that write it, at least one.
            words: what may have been meant.
        """
        own = self._token_of.get(word)
        if own is None:
            likeness: Floats = np.full(len(words.words), _UNLIKE)
        else:
            likeness = (words.vectors @ self._vectors[own]).astype(np.float64)
        result: Floats = _SHARPNESS * likeness + self._frequency(tokens) - words.log_sums
        return np.minimum(result, 0.0)

    def _frequency(self, tokens: Sequence[int]) -> float:
        """The log probability of tokens after nothing in particular."""
        total = float(self.unigrams[tokens[0]])
        if self._memory is not None:
            ngrams = self._memory.ngrams
            nodes = ngrams.advance(ngrams.start(), tokens[0])
            for token in tokens[1:]:
                total += math.log(float(ngrams.distribution(nodes)[token]))
                nodes = ngrams.advance(nodes, token)
        else:
            total += sum(float(self.unigrams[token]) for token in tokens[1:])
        return total

    def _unigrams(self, predictor: Predictor) -> Floats:
        """The log probability of each token after nothing in particular, ``(V,)``."""
        if self._memory is not None:
            return np.asarray(np.log(np.maximum(self._memory.ngrams.frequencies(), 1e-30)))
        # Without counts: what the network says of each token wherever it stands, which tied weights put there.
        bias = predictor.stepper.output_bias.astype(np.float64)
        peak = bias.max()
        return np.asarray(bias - peak - math.log(float(np.exp(bias - peak).sum())))


class _Trial:
    """An alternative on its way through the text after it.

    Attributes:
        word: the alternative.
        segment: its segment.
        tokens: from where they differ from those that stand there, ``num_own`` in the segment and then those after it.
        position: of the next of them.
        reading: before the last one that was scored.
        log_slip: of what stands there.
        gain: how much likelier it is so far, in nats.
    """

    __slots__ = ("after", "gain", "log_slip", "num_own", "position", "reading", "segment", "tokens", "word")

    def __init__(
        self,
        word: str,
        segment: bytes,
        tokens: list[int],
        num_own: int,
        reading: Reading,
        log_slip: float,
        gain: float,
        after: Sequence[float],
    ) -> None:
        self.word = word
        self.segment = segment
        self.tokens = tokens
        self.num_own = num_own
        self.position = 0
        self.reading = reading
        self.log_slip = log_slip
        self.gain = gain
        self.after = after  # what the tokens after the segment cost where they stand

    def take(self, log_probability: float) -> None:
        """Score the next token."""
        self.gain += log_probability
        place = self.position - self.num_own
        if place >= 0:
            self.gain += self.after[place]
        self.position += 1

    @property
    def is_at_end(self) -> bool:
        """Whether all was scored."""
        return self.position == len(self.tokens)

    @property
    def log_odds(self) -> float:
        """As far as it was scored."""
        return self.gain + self.log_slip


class _Place(NamedTuple):
    """A word, and what is tried in its place."""

    segment: Segment
    waiting_index: int  # of the segment among those that are waiting
    line: int
    column: int
    offset: int
    word: str
    trials: list[_Trial]


class WordingChecker:
    """Finds unusual wording with one model.

    Args:
        completer: the model. Its counts learn nothing from the text.
        threshold: the least odds of a finding, above 0.
        lookahead: tokens after a word's segment that decide about it too, at least 0.
    """

    def __init__(
        self, completer: Completer, *, threshold: float = DEFAULT_THRESHOLD, lookahead: int = DEFAULT_LOOKAHEAD
    ) -> None:
        self._predictor = completer.predictor
        self._reader = SegmentReader(completer)
        self._pieces = completer.pieces
        self._slips = Slips(completer)
        self._log_threshold = math.log(threshold)
        self._lookahead = lookahead
        self._width = completer.width

    def findings(self, texts: Iterable[str], progress: Callable[[int], object] | None = None) -> Iterator[Finding]:
        """Look at every word of a document, in time that grows with its length and in constant memory.

        Args:
            texts: the document in pieces, however they are cut.
            progress: is told now and then how many more bytes have been looked at.

        Yields:
            What was found, in the order of the text. Of findings next to each other, the likeliest.
        """
        return (finding for _, finding in _likeliest_nearby(self._all_findings(texts, progress)))

    def _all_findings(
        self, texts: Iterable[str], progress: Callable[[int], object] | None
    ) -> Iterator[tuple[int, Finding]]:
        """What was found, with the number of its segment."""
        waiting: list[Segment] = []
        for batch in self._reader.batches(texts):
            waiting += batch
            ready = len(waiting) - self._lookahead - 1
            if ready >= MANY // 2:
                yield from self._look_at(waiting, ready)
                if progress is not None:
                    progress(sum(len(segment.data) for segment in waiting[:ready]))
                del waiting[:ready]
        yield from self._look_at(waiting, len(waiting))

    def _look_at(self, waiting: Sequence[Segment], number: int) -> Iterator[tuple[int, Finding]]:
        """Look at the words of the first segments; the others are what comes after."""
        places = [place for index in range(number) for place in self._places(waiting, index)]
        trials = [trial for place in places for trial in place.trials]
        self._run(trials)
        for place in places:
            alternatives = self._alternatives(place, waiting)
            if alternatives:
                finding = Finding(place.line, place.column, place.offset, place.word, alternatives)
                yield place.segment.number, finding

    def _places(self, waiting: Sequence[Segment], index: int) -> Iterator[_Place]:
        """The words of a segment that others might replace."""
        segment = waiting[index]
        text = segment.data.decode(errors="replace")
        following = waiting[index + 1].data if index + 1 < len(waiting) else b""
        for match in _WORD.finditer(text):
            if match.start() == 0 and segment.number and not text[0].isspace():
                continue  # maybe the rest of a word that was cut
            if match.end() == len(text) and following and not following[:1].isspace():
                continue
            before = text[: match.start()]
            newlines = before.count("\n")
            column = len(before) - before.rindex("\n") if newlines else segment.column + len(before)
            trials = self._trials(waiting, index, match[0], before.encode(), text[match.end() :].encode())
            if trials:
                line, offset = segment.line + newlines, segment.offset + len(before)
                yield _Place(segment, index, line, column, offset, match[0], trials)

    def _trials(self, waiting: Sequence[Segment], index: int, word: str, before: bytes, behind: bytes) -> list[_Trial]:
        """The alternatives that may turn out to be likelier.

        Args:
            waiting: the segments.
            index: that of the word.
            word: the word.
            before: what the segment has before it.
            behind: and behind it.
        """
        segment = waiting[index]
        tokens, pieces = segment.tokens, self._pieces.pieces
        ends = [0, *accumulate(len(pieces[token]) for token in tokens)]
        first = bisect_right(ends, len(before)) - 1  # the token with which the word, or what is just before it, begins
        last = bisect_left(ends, len(before) + len(word.encode()))  # before this one the word has ended
        if first >= last:
            return []
        words = self._slips.words_after(before[ends[first] :])
        if not words.words:
            return []
        log_slips = self._slips.log_probabilities(word, tokens[first:last], words)
        promise = segment.rows[first][words.tokens] + log_slips + sum(segment.costs[first:last])
        floor = self._log_threshold - _HEAD_START
        likely = np.flatnonzero(promise >= floor)
        likely = likely[np.argsort(-promise[likely], kind="stable")[:_MOST_TRIALS]]
        if not len(likely):
            return []
        following = waiting[index + 1 : index + 1 + self._lookahead]
        later = [token for other in following for token in other.tokens][: self._lookahead]
        after = [cost for other in following for cost in other.costs][: self._lookahead]
        trials = []
        for choice in likely.tolist():
            alternative = words.words[choice]
            if alternative.casefold() == word.casefold():
                continue
            data = before + alternative.encode() + behind
            own = self._reader.encode(data)
            same = _common(own, tokens)
            if same == len(own) or same == len(tokens):
                continue  # the one begins the other: there is no place where they differ
            trial = _Trial(
                alternative,
                data,
                own[same:] + later,
                len(own) - same,
                segment.readings[same],
                float(log_slips[choice]),
                sum(segment.costs[same:]),
                after,
            )
            trial.take(float(segment.rows[same][own[same]]))
            trials.append(trial)
        return trials

    def _run(self, trials: Sequence[_Trial]) -> None:
        """Score alternatives with what comes after, side by side, until each is at its end or too far behind."""
        floor = self._log_threshold - _PATIENCE
        running = list(trials)
        while running:
            running = [trial for trial in running if trial.log_odds >= floor and not trial.is_at_end]
            for start in range(0, len(running), MANY):
                part = running[start : start + MANY]
                tokens = [trial.tokens[trial.position - 1] for trial in part]
                readings = self._predictor.step_many([trial.reading for trial in part], tokens)
                for trial, reading, row in zip(part, readings, self._reader.rows(readings), strict=True):
                    trial.reading = reading
                    trial.take(float(row[trial.tokens[trial.position]]))

    def _alternatives(self, place: _Place, waiting: Sequence[Segment]) -> tuple[Alternative, ...]:
        """Those of a place that reach the threshold, scored text-exact."""
        floor = self._log_threshold - _MARGIN
        trials = [trial for trial in place.trials if trial.is_at_end and trial.log_odds >= floor]
        trials = sorted(trials, key=lambda trial: -trial.log_odds)[:_MOST_EXACT]
        if not trials:
            return ()
        segment = place.segment
        following = waiting[place.waiting_index + 1].data[:1] if place.waiting_index + 1 < len(waiting) else b""
        behind = self._excess(segment, segment.data, segment.tokens, following)
        found = []
        for trial in trials:
            gain = (
                trial.gain
                + self._excess(segment, trial.segment, self._reader.encode(trial.segment), following)
                - behind
            )
            log_odds = gain + trial.log_slip
            if log_odds >= self._log_threshold:
                found.append(Alternative(trial.word, math.exp(min(gain, 700)), math.exp(min(log_odds, 700))))
        return tuple(sorted(found, key=lambda alternative: -alternative.odds))

    def _excess(self, segment: Segment, data: bytes, tokens: Sequence[int], following: bytes) -> float:
        """What the other segmentations of a segment add to the log probability of its canonical one.

        Args:
            segment: where it begins.
            data: its bytes.
            tokens: its canonical segmentation.
            following: the byte that ends it; none at the end of the text.
        """
        start = data[:1] if segment.number else b""
        opened = Hypotheses.open(self._predictor, self._pieces, segment.readings[0], start, None, width=self._width)
        exact = opened.extended(data[len(start) :] + following)[1] + opened.total
        reading, canonical = segment.readings[0], 0.0
        for token in tokens:
            canonical += float(self._reader.rows([reading])[0, token])
            reading = self._predictor.step(reading, token)
        if following:
            first, _, stop = self._pieces.range(following)
            row = self._reader.rows([reading])[0]
            canonical += math.log(float(np.exp(row[self._pieces.order[first:stop]].astype(np.float64)).sum()))
        return exact - canonical


def _directions(embedding: FloatArray, unigrams: Floats) -> FloatArray:
    """The rows of an embedding less their mean, of length 1."""
    centred = embedding - embedding.mean(axis=0)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    return np.asarray(centred, np.float32)


def _whole_word(piece: bytes, start: bytes) -> str | None:
    """The word that a piece writes after some bytes that it begins with; None if it is none."""
    if not piece.startswith(start):
        return None
    try:
        text = piece[len(start) :].decode()
    except UnicodeDecodeError:
        return None
    return text if _WORD.fullmatch(text) else None


def _likeliest_nearby(found: Iterable[tuple[int, Finding]]) -> Iterator[tuple[int, Finding]]:
    """Leave out what has a likelier finding near it."""
    near: list[tuple[int, Finding]] = []  # each no further from the one before it than ``_NEAR``
    for number, finding in found:
        if near and (number - near[-1][0] > _NEAR or len(near) > 10 * MANY):
            yield from _peaks(near)
            near = []
        near.append((number, finding))
    yield from _peaks(near)


def _peaks(near: Sequence[tuple[int, Finding]]) -> Iterator[tuple[int, Finding]]:
    for index, (number, finding) in enumerate(near):
        odds = finding.alternatives[0].odds
        others = near[max(0, index - MANY) : index + MANY]
        if all(abs(other - number) > _NEAR or one.alternatives[0].odds <= odds for other, one in others):
            yield number, finding


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    number = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        number += 1
    return number
