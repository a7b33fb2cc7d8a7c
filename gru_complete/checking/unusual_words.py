"""Unusual words: where the model would rather have put another word, given the text before and after.

Every word w of a text is compared with the words of the model's vocabulary. It is reported if another word a is likely
to have been meant::

    odds = P(before a after) / P(before w after) * error(w | a)                  reported: odds >= threshold

The first factor, the *ratio*, is what the language model says about the two texts. Alone it would report every rare
word, since a common word is nearly always more likely. The second factor, from ``error_model.py``, is the probability
that an error leaves w where ``a`` was meant. So a rare word is reported only where it fits worse than it does
elsewhere, and "her" in the place of "his", or "were" in that of "was", sooner than two unrelated words. The method
knows no language.

*After* means the rest of the word's segment (``text/tokenizer.py``) and the next ``lookahead`` tokens. A first pass
scores each alternative in its one canonical segmentation and drops it as soon as it falls too far behind. The remaining
ones are scored exactly: the word's own segment, and the byte that ends it, summed over all segmentations.

The context is the text as it is, including the words that are reported: the writer wrote them, and where the model is
wrong, replacing them would make it go wrong further on. But one error makes other words look odd: in "the cats ... was"
it is both. So findings are taken by falling odds, and one is reported only if it would still be found after correcting
those near it that are reported already (up to ``lookahead`` segments before and after it).

Which threshold suits a model is measured as training ends: ``threshold.py``.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from gru_complete.checking.error_model import WORD, ErrorModel
from gru_complete.checking.segment_reader import MAX_ROWS, Segment, SegmentReader
from gru_complete.checking.trials import Slot, Trial
from gru_complete.checking.typography import VariantReader, as_written, plain
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.segmentation import Hypotheses

DEFAULT_THRESHOLD = 5.0
"""For models without a measured one: those of little text, and those that `compare` trains."""

DEFAULT_LOOKAHEAD = 10
"""Tokens after the word. On tuning prose, 4 did nearly as well and 2 worse; 20 did no better on the demo's pairs."""

# Both limits are in nats below the threshold, and together cost at most 2 % of the findings.
_HEAD_START = 8.0  # alternatives further behind before any token after the word is read are not tried
_PATIENCE = 5.0  # alternatives further behind while those tokens are read are dropped
_MAX_TRIALS = 24  # alternatives tried for a word
_MAX_EXACT = 3  # alternatives scored exactly and reported for a word
_MARGIN = 1.0  # nats that exact scoring may add
_MAX_NEAR = MAX_ROWS  # findings that are weighed against each other


class Alternative(NamedTuple):
    """A word that the model would rather have put in the place of another.

    Attributes:
        word: the word, spelt as it would be there.
        ratio: how many times more likely the text is with it.
        odds: the ratio times the probability that an error leaves the other word: what the threshold applies to.
    """

    word: str
    ratio: float
    odds: float


class UnusualWord(NamedTuple):
    """A word that is unusual where it is.

    Attributes:
        line: from 1.
        column: of its first character, in characters from 1.
        offset: of its first character in the whole text, in characters from 0.
        word: the word.
        alternatives: at least one, by falling odds.
    """

    line: int
    column: int
    offset: int
    word: str
    alternatives: tuple[Alternative, ...]


class _Detection(NamedTuple):
    """An unusual word, with what is needed to check it again after corrections near it.

    Attributes:
        finding: in the text as it is.
        number: of its segment.
        words: the alternatives, as the model writes them.
        corrected: its segment with the best alternative.
        around: its segment, those before it that may explain it, and those after it that are scored with it.
    """

    finding: UnusualWord
    number: int
    words: Collection[str]
    corrected: bytes
    around: Sequence[Segment]


class WordChecker:
    """Finds unusual words with one model.

    Args:
        completer: the model. Its n-gram counts learn nothing from the text.
        threshold: the least odds of a finding, above 0; it may be changed between two findings.
        lookahead: how many tokens after a word's segment are scored with it, at least 0.
    """

    def __init__(
        self, completer: Completer, *, threshold: float = DEFAULT_THRESHOLD, lookahead: int = DEFAULT_LOOKAHEAD
    ) -> None:
        self._predictor = completer.predictor
        self._pieces = completer.pieces
        self._error_model = ErrorModel(completer)
        variants = VariantReader(self._pieces.pieces, self._error_model.unigrams)
        self._reader = SegmentReader(completer, variants=variants)
        self.threshold = threshold
        self._lookahead = lookahead
        self._width = completer.width

    @property
    def _log_threshold(self) -> float:
        return math.log(self.threshold)

    def findings(self, texts: Iterable[str], progress: Callable[[int], object] | None = None) -> Iterator[UnusualWord]:
        """Check every word of a document, in time that grows with its length and in constant memory.

        Args:
            texts: the document in parts, cut anywhere.
            progress: called now and then with the number of bytes checked since the last call.

        Yields:
            The unusual words in the order of the text, without those that corrections of others explain.
        """
        near: list[_Detection] = []  # each within reach of corrections of the one before it
        for detection in self._detections(texts, progress):
            if near and (detection.number - near[-1].number > self._lookahead or len(near) >= _MAX_NEAR):
                yield from self._unexplained(near)
                near = []
            near.append(detection)
        yield from self._unexplained(near)

    def _unexplained(self, near: Sequence[_Detection]) -> list[UnusualWord]:
        """Those that are still found after correcting the ones with greater odds."""
        reported: dict[int, _Detection] = {}
        for detection in sorted(near, key=lambda detection: -detection.finding.alternatives[0].odds):
            if self._is_still_found(detection, reported):
                reported[detection.number] = detection
        return [detection.finding for _, detection in sorted(reported.items())]

    def _is_still_found(self, detection: _Detection, reported: Mapping[int, _Detection]) -> bool:
        """Whether a word is found once the reported ones near it are corrected."""
        changed = [segment.number for segment in detection.around if segment.number in reported]
        if not changed:
            return True
        if detection.number in changed:
            return False
        first = min(*changed, detection.number)
        segments = [segment for segment in detection.around if segment.number >= first]
        corrected = []
        for segment in segments:
            data = reported[segment.number].corrected if segment.number in reported else segment.data
            tokens = self._reader.encode(data)
            corrected.append(
                Segment(data, segment.text, segment.number, segment.line, segment.column, segment.offset, tokens)
            )
        self._reader.read(corrected, segments[0].decoder_states[0])
        place = detection.number - first
        for only in (
            detection.words,
            (),
        ):  # mostly, one of the same alternatives is still better: a fraction of the time
            again = self._detect(corrected, place, place + 1, only=only)
            if any(other.finding.offset == detection.finding.offset for other in again):
                return True
        return False

    def _detections(self, texts: Iterable[str], progress: Callable[[int], object] | None) -> Iterator[_Detection]:
        """The unusual words of the text as it is, with a sliding window of segments in memory."""
        window: list[Segment] = []
        start = 0  # the segments before it are checked
        for batch in self._reader.batches(texts):
            window += batch
            ready = len(window) - self._lookahead - 1
            if ready - start >= MAX_ROWS // 2:
                yield from self._detect(window, start, ready)
                for segment in window[start:ready]:
                    segment.rows = []  # most of its memory, and detections may keep the segment for long
                if progress is not None:
                    progress(sum(len(segment.text.encode()) for segment in window[start:ready]))
                start = min(ready, self._lookahead)
                del window[: ready - start]
        yield from self._detect(window, start, len(window))

    def _detect(
        self, segments: Sequence[Segment], start: int, stop: int, *, only: Collection[str] = ()
    ) -> Iterator[_Detection]:
        """Check the words of some segments among others.

        Args:
            segments: all of them.
            start: the index of the first one to be checked.
            stop: and where they end.
            only: the alternatives to try; empty for all.
        """
        tried = []
        for index in range(start, stop):
            for slot in _slots(segments, index):
                trials = self._start_trials(slot, only)
                if trials:
                    tried.append((slot, trials))
        self._run([trial for _, trials in tried for trial in trials])
        for slot, trials in tried:
            alternatives = self._score_exactly(slot, trials)
            if alternatives:
                words = tuple(
                    alternative._replace(word=as_written(alternative.word, slot.word, slot.written))
                    for alternative, _ in alternatives
                )
                finding = UnusualWord(slot.line, slot.column, slot.offset, slot.written, words)
                before = max(0, slot.place - self._lookahead)
                around = segments[before : slot.place + self._lookahead + 2]
                plain_words = [alternative.word for alternative, _ in alternatives]
                yield _Detection(finding, slot.segment.number, plain_words, alternatives[0][1], around)

    def _start_trials(self, slot: Slot, only: Collection[str]) -> list[Trial]:
        """The alternatives for a slot that may turn out to be more likely, with their first tokens scored.

        Args:
            slot: the word.
            only: the alternatives to try; empty for all.
        """
        tokens = slot.segment.tokens
        ends = [0, *accumulate(len(self._pieces.pieces[token]) for token in tokens)]
        # The tokens of the word; the first may begin with bytes before it, mostly a space.
        first = bisect_right(ends, len(slot.before)) - 1
        last = bisect_left(ends, len(slot.before) + len(slot.word.encode()))
        if first >= last:
            return []
        candidates = self._error_model.candidates_after(slot.before[ends[first] :])
        if not candidates.words:
            return []
        log_errors = self._error_model.log_probabilities(slot.word, tokens[first:last], candidates)
        log_odds = slot.segment.rows[first][candidates.tokens] + log_errors + sum(slot.segment.costs[first:last])
        promising = np.flatnonzero(log_odds >= self._log_threshold - _HEAD_START)
        promising = promising[np.argsort(-log_odds[promising], kind="stable")[:_MAX_TRIALS]]
        trials = (
            self._start_trial(slot, candidates.words[choice], float(log_errors[choice]))
            for choice in promising.tolist()
            if not only or candidates.words[choice] in only
        )
        return [trial for trial in trials if trial is not None]

    def _start_trial(self, slot: Slot, word: str, log_error: float) -> Trial | None:
        """One alternative, with its first differing token scored; None if it cannot be compared token by token."""
        if plain(word).casefold() == plain(slot.word).casefold():
            return None
        segment = slot.segment
        data = slot.with_word(word)
        tokens = self._reader.encode(data)
        same = _num_common(tokens, segment.tokens)
        if same == len(tokens) or same == len(segment.tokens):
            return None  # one is the beginning of the other: there is no token in which they differ
        following = slot.segments[slot.place + 1 : slot.place + 1 + self._lookahead]
        later_tokens = [token for other in following for token in other.tokens][: self._lookahead]
        trial = Trial(
            word=word,
            segment=data,
            tokens=tokens[same:] + later_tokens,
            num_in_segment=len(tokens) - same,
            decoder_state=segment.decoder_states[same],
            log_error=log_error,
            gain=sum(segment.costs[same:]),
            costs_after=[cost for other in following for cost in other.costs][: self._lookahead],
        )
        trial.score_next(float(segment.rows[same][tokens[same]]))
        return trial

    def _run(self, trials: Sequence[Trial]) -> None:
        """Score alternatives on the text after them, side by side, until each is at its end or too far behind."""
        floor = self._log_threshold - _PATIENCE
        running = list(trials)
        while running:
            running = [trial for trial in running if trial.log_odds >= floor and not trial.is_at_end]
            for start in range(0, len(running), MAX_ROWS):
                part = running[start : start + MAX_ROWS]
                tokens = [trial.tokens[trial.position - 1] for trial in part]
                decoder_states = self._predictor.step_many([trial.decoder_state for trial in part], tokens)
                rows = self._reader.rows(decoder_states)
                for trial, decoder_state, row in zip(part, decoder_states, rows, strict=True):
                    trial.decoder_state = decoder_state
                    trial.score_next(float(row[trial.tokens[trial.position]]))

    def _score_exactly(self, slot: Slot, trials: Sequence[Trial]) -> list[tuple[Alternative, bytes]]:
        """The alternatives whose exact odds reach the threshold, by falling odds, each with its segment."""
        floor = self._log_threshold - _MARGIN
        complete = [trial for trial in trials if trial.is_at_end and trial.log_odds >= floor]
        best = sorted(complete, key=lambda trial: -trial.log_odds)[:_MAX_EXACT]
        if not best:
            return []
        correction = self._segmentation_gain(slot, slot.segment.data, slot.segment.tokens)
        alternatives = []
        for trial in best:
            exact = self._segmentation_gain(slot, trial.segment, self._reader.encode(trial.segment))
            gain = trial.gain + exact - correction
            log_odds = gain + trial.log_error
            if log_odds >= self._log_threshold:
                alternative = Alternative(trial.word, math.exp(min(gain, 700)), math.exp(min(log_odds, 700)))
                alternatives.append((alternative, trial.segment))
        return sorted(alternatives, key=lambda pair: -pair[0].odds)

    def _segmentation_gain(self, slot: Slot, data: bytes, tokens: Sequence[int]) -> float:
        """What all segmentations of a segment together add to the log probability of its canonical one.

        Args:
            slot: where the segment is.
            data: the bytes of the segment, with any word in the slot.
            tokens: its canonical segmentation.
        """
        segment, next_byte = slot.segment, slot.next_byte
        start = data[:1] if segment.number else b""
        opened = Hypotheses.open(
            self._predictor, self._pieces, segment.decoder_states[0], start, None, width=self._width
        )
        exact = opened.extended(data[len(start) :] + next_byte)[1] + opened.total
        decoder_state, canonical = segment.decoder_states[0], 0.0
        for token in tokens:
            canonical += float(self._reader.rows([decoder_state])[0, token])
            decoder_state = self._predictor.step(decoder_state, token)
        if next_byte:
            first, _, stop = self._pieces.range(next_byte)
            row = self._reader.rows([decoder_state])[0]
            canonical += math.log(float(np.exp(row[self._pieces.order[first:stop]].astype(np.float64)).sum()))
        return exact - canonical


def _slots(segments: Sequence[Segment], index: int) -> Iterator[Slot]:
    """The words of a segment, except those that a segment's boundary may have cut."""
    segment = segments[index]
    text = segment.data.decode(errors="replace")
    following = segments[index + 1].data if index + 1 < len(segments) else b""
    for match in WORD.finditer(text):
        if match.start() == 0 and segment.number and not text[0].isspace():
            continue
        if match.end() == len(text) and following and not following[:1].isspace():
            continue
        before = text[: match.start()]
        newlines = before.count("\n")
        yield Slot(
            segments,
            index,
            match[0],
            segment.text[match.start() : match.end()],
            before.encode(),
            text[match.end() :].encode(),
            line=segment.line + newlines,
            column=len(before) - before.rindex("\n") if newlines else segment.column + len(before),
            offset=segment.offset + len(before),
        )


def _num_common(first: Sequence[int], second: Sequence[int]) -> int:
    """The length of the longest common beginning of two sequences."""
    number = 0
    for left, right in zip(first, second, strict=False):
        if left != right:
            break
        number += 1
    return number
