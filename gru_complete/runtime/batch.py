"""Many prompts at once: their texts are read, and their tokens drawn, as the rows of one product.

A row is a prompt on its way to its completion. In each round every row says what it wants of the model: to read a token
or some, and what may follow them. All that is answered together. A row that ends makes room for the next prompt, so the
product stays wide, and nothing of a row reaches another.

What comes before the first drawn token, reading the prompt and finding its segmentations, is the same code as for one
prompt: generators, which yield what they want to be read (``Completer.reading``, ``Hypotheses.unread``).

Shapes: N rows, V vocab_size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gru_complete.overlay import Overlay
from gru_complete.runtime.completer import Completer, Context
from gru_complete.runtime.draft import Completion, Draft
from gru_complete.runtime.options import CompletionOptions, SamplingOptions
from gru_complete.runtime.predictor import Reading
from gru_complete.runtime.sampling import IntArray, damaged_scores
from gru_complete.runtime.segmentation import Node, fill
from gru_complete.runtime.stepper import FloatArray

WIDTH = 128
"""Rows at once, and of a product. With half of them a prompt took 16 % (until a sentence) to 45 % (a word) longer."""
_MOST_WAITING = 2 * WIDTH  # prompts that were begun and not yet given back, for one before them takes long

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
        options: how, with the same seed for each; neither ``beam`` nor ``min_confidence``.
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
        node: what wants to be told what may follow.
    """

    reading: Reading
    tokens: list[int]
    node: Node | None = None


class _Row:
    """A prompt on its way to its completion.

    Attributes:
        number: of the prompt.
        prompt: the prompt.
        asks: what it wants to know next.
        overlay: what its text has said.
        draft: what is drawn, from the first token on.
    """

    def __init__(
        self, number: int, prompt: bytes, completer: Completer, before: Context, options: CompletionOptions
    ) -> None:
        self.number = number
        self.prompt = prompt
        self.asks: list[_Ask] = []
        self.overlay: Overlay | None = None
        self.draft: Draft | None = None
        self._completer = completer
        self._options = options
        self._preparing = self._prepare(before)
        self.prepare()

    def prepare(self) -> None:
        """Read the prompt and draw the first token, as far as the answers go."""
        self.asks = next(self._preparing)
        if self.draft is not None:
            self._preparing = iter(())  # lets go of the segmentations, and of the row itself

    def _prepare(self, before: Context) -> Iterator[list[_Ask]]:
        completer = self._completer
        reading = completer.reading(self.prompt, before)
        ask: _Ask | None = None
        while True:
            try:
                start, tokens = next(reading) if ask is None else reading.send(ask.reading)
            except StopIteration as end:
                context: Context = end.value
                break
            ask = _Ask(start, tokens[::-1])
            yield [ask]
        self.overlay = context.overlay
        hypotheses = completer.hypotheses(context)
        for nodes in hypotheses.unread():
            yield [_Ask(node.before, [] if node.token is None else [node.token], node) for node in nodes]
        draft = completer.draft(context, self._options)
        start, token, _ = completer.begin(draft, completer.openings(context, hypotheses), self._options.sampling)
        self.draft = draft
        yield [_Ask(start, [token])]


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
            ready = [row for row in rows if not row.asks[0].tokens]  # only a single ask has several
            looking = [row for row in ready if row.draft is None and row.asks[0].node is not None]
            drawing = [row for row in ready if row.draft is not None]
            for start in range(0, len(drawing), WIDTH):
                self._draw(drawing[start : start + WIDTH])
            asks = [(ask, row.overlay) for row in looking for ask in row.asks]
            for start in range(0, len(asks), WIDTH):
                self._fill(asks[start : start + WIDTH])
        for row in ready:
            if row.draft is None:
                row.prepare()

    def _step(self, asks: Sequence[_Ask]) -> None:
        for start in range(0, len(asks), WIDTH):
            part = asks[start : start + WIDTH]
            tokens = [ask.tokens.pop() for ask in part]
            readings = self._predictor.step_many([ask.reading for ask in part], tokens)
            for ask, reading in zip(part, readings, strict=True):
                ask.reading = reading

    def _fill(self, asks: Sequence[tuple[_Ask, Overlay | None]]) -> None:
        """Tell nodes what may follow them."""
        nodes = [ask.node for ask, _ in asks if ask.node is not None]
        for node, (ask, _) in zip(nodes, asks, strict=True):
            node.reading = ask.reading
        readings = [node.reading for node in nodes]
        fill(self._completer.pieces, nodes, self._predictor.log_probabilities(readings, [own for _, own in asks]))

    def _draw(self, rows: Sequence[_Row]) -> None:
        """Draw the next token of each row."""
        completer, sampling = self._completer, self._options.sampling
        readings = [row.asks[0].reading for row in rows]
        scores = self._predictor.log_probabilities(readings, [row.overlay for row in rows])
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
        for row, reading, token in zip(rows, readings, tokens, strict=True):
            row.asks = [_Ask(reading, [token])]


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
