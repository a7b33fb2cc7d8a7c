"""Many prompts at once: their texts are read, and their tokens drawn, as the rows of one product.

A row is a prompt on its way to its completion. In each round every row says what it wants of the model: to read a token
or some, and what may follow them. All that is answered together. A row that ends makes room for the next prompt, so the
product stays wide, and nothing of a row reaches another.

What comes before the first drawn token, reading the prompt and finding its segmentations, is the same code as for one
prompt. It runs with a stand-in for the predictor, which knows what was asked for before. What it does not know stops
the code and is asked for; then the code runs again, and further. It keeps what it has read, so this costs little.

Shapes: N rows, V vocab_size.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gru_complete.overlay import Overlay
from gru_complete.runtime.completer import Completer, Context
from gru_complete.runtime.draft import Completion, Draft
from gru_complete.runtime.options import CompletionOptions, SamplingOptions
from gru_complete.runtime.predictor import Predictor, Reading
from gru_complete.runtime.sampling import IntArray, damaged_scores
from gru_complete.runtime.segmentation import Hypotheses
from gru_complete.runtime.stepper import FloatArray

WIDTH = 64
"""Rows at once. A product of twice as many takes twice as long, and no longer fits the processor's cache."""
_MOST_ROWS = 128  # of a product; more no longer fit the processor's cache
_MOST_WAITING = 4 * WIDTH  # prompts that were begun and not yet given back, for one before them takes long

_SMALLEST = np.finfo(np.float32).tiny

Take = Callable[[bool], bytes | None]


def complete_each(
    completer: Completer,
    take: Take,
    options: CompletionOptions,
    before: Context | None = None,
    *,
    width: int = WIDTH,
) -> Iterator[Completion]:
    """Continue prompts, each on its own.

    Args:
        completer: the model.
        take: gives the next prompt. Asked with False, it may give None: there is none yet. It raises EOFError when
            there are no more; any other error is raised when all earlier prompts are completed.
        options: how, with the same seed for each; neither ``beam`` nor anything but a completion.
        before: what was read before each.
        width: rows at once.

    Yields:
        The completions, in the order of their prompts, each as soon as it and all before it are known.
    """
    rows: list[_Row] = []
    finished: dict[int, Completion] = {}
    begun = given = 0
    end: Exception | None = None
    answerer = _Answerer(completer, options)
    before = completer.read(b"", before)
    while True:
        while end is None and len(rows) < width and begun - given < _MOST_WAITING:
            try:
                prompt = take(not rows)
            except Exception as error:
                end = error
                break
            if prompt is None:
                break
            rows.append(_Row(begun, prompt, completer, before, options))
            begun += 1
        if not rows:
            assert end is not None
            if isinstance(end, EOFError):
                return
            raise end
        answerer.answer(rows)
        going_on = []
        for row in rows:
            if row.draft is not None and row.draft.reason:
                finished[row.number] = row.draft.completion(row.prompt)
            else:
                going_on.append(row)
        rows = going_on
        while given in finished:
            yield finished.pop(given)
            given += 1


@dataclass(eq=False)
class _Ask:
    """Tokens to read, and then perhaps what may follow them.

    Attributes:
        reading: where the tokens begin; when it is answered, where they end.
        tokens: those that are not read yet, the next one last.
        wants_scores: whether to predict what follows.
        overlay: what the text has said.
        scores: the answer, log probabilities ``(V,)``.
    """

    reading: Reading
    tokens: list[int]
    wants_scores: bool = False
    overlay: Overlay | None = None
    scores: FloatArray | None = None


class _Unanswered(Exception):
    """The stand-in has not been told the answers yet."""


class _StandIn(Predictor):
    """Answers what was answered before, and raises ``_Unanswered`` for the rest; one prompt is prepared with it.

    Attributes:
        asks: what it was asked in vain.
        overlay: what the text has said, once that is known.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__(predictor.stepper, predictor.memory)
        self.asks: list[_Ask] = []
        self.overlay: Overlay | None = None
        # By the id of the reading and the tokens: the reading itself, so that it keeps its id, and what was asked.
        self._read: dict[tuple[int, ...], tuple[Reading, _Ask]] = {}
        self._predicted: dict[int, _Ask] = {}  # by the id of the reading

    def read(self, reading: Reading, tokens: Iterable[int]) -> Reading:
        """Read tokens one after another."""
        tokens = list(tokens)
        return self._after([(reading, tokens)], wants_scores=False)[0] if tokens else reading

    def step_many(self, readings: Sequence[Reading], tokens: Sequence[int]) -> list[Reading]:
        """Read one token after each reading; what follows them will be asked for next."""
        return self._after([(reading, [token]) for reading, token in zip(readings, tokens, strict=True)])

    def log_probabilities(self, readings: Sequence[Reading], overlay: Overlay | None = None) -> FloatArray:
        """Log probabilities of what may follow each reading, ``(N, V)``."""
        for reading in readings:
            if id(reading) not in self._predicted:
                ask = self._predicted[id(reading)] = _Ask(reading, [], wants_scores=True, overlay=overlay)
                self.asks.append(ask)
        if self.asks:
            raise _Unanswered
        return np.stack([_scores_of(self._predicted[id(reading)]) for reading in readings])

    def _after(self, wanted: Sequence[tuple[Reading, list[int]]], *, wants_scores: bool = True) -> list[Reading]:
        asks = []
        for reading, tokens in wanted:
            key = id(reading), *tokens
            if key not in self._read:
                ask = _Ask(reading, tokens[::-1], wants_scores, self.overlay)
                self._read[key] = reading, ask
                self.asks.append(ask)
            asks.append(self._read[key][1])
        if self.asks:
            raise _Unanswered
        self._predicted.update({id(ask.reading): ask for ask in asks if ask.wants_scores})
        return [ask.reading for ask in asks]


class _Row:
    """A prompt on its way to its completion.

    Attributes:
        number: of the prompt.
        prompt: the prompt.
        asks: what it wants to know next.
        draft: what is drawn, from the first token on.
    """

    def __init__(
        self, number: int, prompt: bytes, completer: Completer, before: Context, options: CompletionOptions
    ) -> None:
        self.number = number
        self.prompt = prompt
        self.asks: list[_Ask] = []
        self.draft: Draft | None = None
        self._before = before
        self._options = options
        self._overlay: Overlay | None = None
        self._hypotheses: tuple[Context, Hypotheses] | None = None
        self._stand_in = _StandIn(completer.predictor)
        self._completer = copy.copy(completer)
        self._completer.predictor = self._stand_in
        self.prepare()

    def prepare(self) -> None:
        """Read the prompt and draw the first token, as far as the answers go."""
        completer = self._completer
        self._stand_in.asks = self.asks = []
        try:
            if self._hypotheses is None:
                context = completer.read(self.prompt, self._before)
                self._overlay = self._stand_in.overlay = context.overlay
                self._hypotheses = context, completer.hypotheses(context)
            context, hypotheses = self._hypotheses
            openings = completer.openings(context, hypotheses)
        except _Unanswered:
            return
        draft = completer.draft(context, self._options)
        reading, token, _ = completer.begin(draft, openings, self._options.sampling)
        self.draft = draft
        self.ask_what_follows(reading, token)

    def ask_what_follows(self, reading: Reading, token: int) -> None:
        """Want to know what follows one more token."""
        self.asks = [_Ask(reading, [token], wants_scores=True, overlay=self._overlay)]


class _Answerer:
    """Answers what rows ask, all at once."""

    def __init__(self, completer: Completer, options: CompletionOptions) -> None:
        self._completer = completer
        self._predictor = completer.predictor
        self._options = options
        sampling = options.sampling
        filters = sampling.top_k, 1 - sampling.top_p, 1 - sampling.typical, 1 - sampling.repetition_penalty
        # Whether nothing but temperature and min-p decides, which is quickest for all rows at once.
        self._is_plain = not (any(filters) or options.words_not_repeated or options.logprobs)

    def answer(self, rows: Sequence[_Row]) -> None:
        """Read the next token of everything that is asked for, and let the rows go on whose asks are answered."""
        with np.errstate(over="ignore", invalid="ignore"):
            self._step([ask for row in rows for ask in row.asks if ask.tokens])
            ready = [row for row in rows if not any(ask.tokens for ask in row.asks)]
            asks = [ask for row in ready for ask in row.asks if ask.wants_scores]
            scores = self._predict(asks)
        drawing = [row for row in ready if row.draft is not None]
        if drawing:
            number = {id(ask): index for index, ask in enumerate(asks)}
            self._draw(drawing, scores[[number[id(row.asks[0])] for row in drawing]])
        for row in ready:
            if row.draft is None:
                row.prepare()

    def _step(self, asks: Sequence[_Ask]) -> None:
        for start in range(0, len(asks), _MOST_ROWS):
            part = asks[start : start + _MOST_ROWS]
            tokens = [ask.tokens.pop() for ask in part]
            readings = self._predictor.step_many([ask.reading for ask in part], tokens)
            for ask, reading in zip(part, readings, strict=True):
                ask.reading = reading

    def _predict(self, asks: Sequence[_Ask]) -> FloatArray:
        """Log probabilities of what follows, ``(N, V)``."""
        parts = [
            self._predictor.log_probabilities([ask.reading for ask in asks[start : start + _MOST_ROWS]])
            for start in range(0, len(asks), _MOST_ROWS)
        ]
        scores = np.concatenate(parts) if parts else np.empty((0, 0), np.float32)
        for row, ask in zip(scores, asks, strict=True):
            if ask.overlay is not None:
                self._adjust(row, ask.reading, ask.overlay)
            ask.scores = row
        return scores

    def _adjust(self, row: FloatArray, reading: Reading, overlay: Overlay) -> None:
        """Lay what the text has said over what the model says, in place."""
        assert self._predictor.memory is not None
        length, total, _ = self._predictor.memory.ngrams.context(reading.nodes)
        np.exp(row, out=row)
        overlay.adjust(row, reading.last, length, total)
        np.maximum(row, _SMALLEST, out=row)
        np.log(row, out=row)

    def _draw(self, rows: Sequence[_Row], scores: FloatArray) -> None:
        """Draw the next token of each row from its scores, ``(N, V)``."""
        completer, sampling = self._completer, self._options.sampling
        drafts = [row.draft for row in rows if row.draft is not None]
        if self._is_plain:
            masked = scores + completer.masks.after(b"")
            for index, draft in enumerate(drafts):
                if draft.pending:
                    masked[index] = scores[index] + completer.masks.after(draft.pending)
            drawn = draw_each(masked, sampling, [draft.uniform() for draft in drafts])
            logprobs = scores[np.arange(len(rows)), drawn].tolist()
            tokens = drawn.tolist()
            pieces = completer.tokenizer.pieces
            for draft, token, logprob in zip(drafts, tokens, logprobs, strict=True):
                draft.take(token, pieces[token], logprob)
        else:
            tokens = [completer.go_on(draft, row, sampling)[0] for draft, row in zip(drafts, scores, strict=True)]
        for row, token in zip(rows, tokens, strict=True):
            row.ask_what_follows(row.asks[0].reading, token)


def draw_each(scores: FloatArray, sampling: SamplingOptions, uniforms: Sequence[float]) -> IntArray:
    """Draw a token from each row of scores ``(N, V)``, as ``sampling.candidates`` and ``sampling.draw`` would.

    Only temperature and min-p are looked at. Rounding aside, each row gives what it would give alone.

    Raises:
        ModelError: in some row, no token has a finite score.
    """
    tokens: IntArray = scores.argmax(axis=1)
    numbers = np.arange(len(scores))
    peaks = scores[numbers, tokens]
    if not np.isfinite(peaks).all():
        raise damaged_scores()
    if sampling.temperature == 0:
        return tokens
    floors = peaks + (math.log(sampling.min_p) if sampling.min_p > 0 else np.float32(-np.inf))
    rows, kept = np.nonzero(scores >= np.maximum(floors, np.finfo(np.float32).min)[:, None])
    weights = np.subtract(scores[rows, kept], peaks[rows], dtype=np.float64)
    np.maximum(weights, -800 * sampling.temperature, out=weights)  # exp(-800) is 0, and the quotient cannot overflow
    weights /= sampling.temperature
    np.exp(weights, out=weights)
    possible = weights > 0
    rows, kept, cumulative = rows[possible], kept[possible], weights[possible].cumsum()
    ends = np.searchsorted(rows, numbers, side="right")  # of each row's candidates
    starts = np.concatenate(([0], ends[:-1]))
    before = np.where(starts > 0, cumulative[starts - 1], 0.0)
    targets = before + np.asarray(uniforms) * (cumulative[ends - 1] - before)
    drawn: IntArray = kept[np.clip(np.searchsorted(cumulative, targets, side="right"), starts, ends - 1)]
    return drawn


def _scores_of(ask: _Ask) -> FloatArray:
    assert ask.scores is not None
    return ask.scores
