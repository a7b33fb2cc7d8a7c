"""Many prompts at once: their texts are read, and their tokens drawn, as the rows of one product.

A row is a prompt on its way to its completion. In each round every row says what it wants of the model: to read a token
or some, and what may follow them. All that is answered together. A row that ends makes room for the next prompt, so the
product stays wide, and nothing of a row reaches another.

What comes before the first drawn token, reading the prompt and finding its segmentations, is the same code as for one
prompt: generators, which yield what they want to be read (``Completer.read_in_steps``, ``Hypotheses.unread``).

Shapes: N rows, V vocab_size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from gru_complete.arrays import FloatArray, IntArray
from gru_complete.ngrams.overlay import Overlay
from gru_complete.runtime.completer import Completer, PromptState
from gru_complete.runtime.draft import Completion, Draft
from gru_complete.runtime.options import CompletionOptions, SamplingOptions
from gru_complete.runtime.predictor import DecoderState
from gru_complete.runtime.sampling import damaged_scores
from gru_complete.runtime.segmentation import Node, fill

WIDTH = 256
"""Rows at once, and of a product. With half of them a prompt took 11 % (until a sentence) to 16 % (a word) longer."""
_MAX_WAITING = 2 * WIDTH  # prompts that were begun and not yet given back, for one before them takes long

NextPrompt = Callable[[bool], bytes | None]


def complete_each(
    completer: Completer,
    next_prompt: NextPrompt,
    options: CompletionOptions,
    before: PromptState | None = None,
    *,
    width: int = WIDTH,
) -> Iterator[Completion]:
    """Continue prompts, each on its own.

    Args:
        completer: the model.
        next_prompt: returns the next prompt. Called with False, it may return None: there is none yet. It raises
            EOFError when there are no more; any other error is raised when all earlier prompts are completed.
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
        while end is None and len(rows) < width and begun - given < _MAX_WAITING:
            try:
                prompt = next_prompt(not rows)
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
        decoder_state: where the tokens begin; when all are read, where they end.
        tokens: what to read.
        node: what wants to be told what may follow.
        num_read: how many of the tokens the network has read.
        state: the network's after them.
    """

    decoder_state: DecoderState
    tokens: Sequence[int]
    node: Node | None = None
    num_read: int = 0
    state: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self.state = self.decoder_state.state


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
        self, number: int, prompt: bytes, completer: Completer, before: PromptState, options: CompletionOptions
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

    def _prepare(self, before: PromptState) -> Iterator[list[_Ask]]:
        completer = self._completer
        decoder_state = completer.read_in_steps(self.prompt, before)
        ask: _Ask | None = None
        while True:
            try:
                start, tokens = next(decoder_state) if ask is None else decoder_state.send(ask.decoder_state)
            except StopIteration as end:
                prompt_state: PromptState = end.value
                break
            ask = _Ask(start, tokens)
            yield [ask]
        self.overlay = prompt_state.overlay
        hypotheses = completer.hypotheses(prompt_state)
        for nodes in hypotheses.unread():
            yield [_Ask(node.before, [] if node.token is None else [node.token], node) for node in nodes]
        draft = completer.draft(prompt_state, self._options)
        start, token, _ = completer.draw_first(
            draft, completer.first_tokens(prompt_state, hypotheses), self._options.sampling
        )
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
        self._is_plain = not (any(filters) or options.words_not_repeated or options.logprobs or options.novel)

    def answer(self, rows: Sequence[_Row]) -> None:
        """Read the next token of everything that is asked for, and let the rows go on whose asks are answered."""
        with np.errstate(over="ignore", invalid="ignore"):
            self._step([ask for row in rows for ask in row.asks if ask.num_read < len(ask.tokens)])
            ready = [row for row in rows if row.asks[0].num_read == len(row.asks[0].tokens)]  # only one has several
            drawing = [row for row in ready if row.draft is not None]
            looking = [row for row in ready if row.draft is None]
            asks = [
                (row, ask)
                for row in drawing + looking
                for ask in row.asks
                if row.draft is not None or ask.node is not None
            ]
            for start in range(0, len(asks), WIDTH):
                part = asks[start : start + WIDTH]
                scores = self._predictor.log_probabilities(
                    [ask.decoder_state for _, ask in part], [row.overlay for row, _ in part]
                )
                num_drawing = max(0, min(len(drawing) - start, len(part)))
                if num_drawing:
                    self._draw(drawing[start : start + num_drawing], scores[:num_drawing])
                if num_drawing < len(part):
                    # A copy, for nodes stay longer than the round.
                    self._fill([ask for _, ask in part[num_drawing:]], scores[num_drawing:].copy())
        for row in looking:
            row.prepare()

    def _step(self, asks: Sequence[_Ask]) -> None:
        for start in range(0, len(asks), WIDTH):
            part = asks[start : start + WIDTH]
            hidden, states = self._predictor.step_states(
                [ask.tokens[ask.num_read] for ask in part], [ask.state for ask in part]
            )
            for ask, after, state in zip(part, hidden, states, strict=True):
                ask.num_read += 1
                if ask.num_read == len(ask.tokens):
                    ask.decoder_state = self._predictor.advance_decoder_state(
                        ask.decoder_state, ask.tokens, after, state
                    )
                else:
                    ask.state = state

    def _fill(self, asks: Sequence[_Ask], scores: FloatArray) -> None:
        """Tell nodes what may follow them."""
        nodes = [ask.node for ask in asks if ask.node is not None]
        for node, ask in zip(nodes, asks, strict=True):
            node.decoder_state = ask.decoder_state
        fill(self._completer.pieces, nodes, scores)

    def _draw(self, rows: Sequence[_Row], scores: FloatArray) -> None:
        """Draw the next token of each row, from the scores ``(N, V)``, which are overwritten."""
        completer, sampling = self._completer, self._options.sampling
        drafts = [row.draft for row in rows if row.draft is not None]
        if self._is_plain:
            unfinished = [
                (index, scores[index] + completer.masks.after(draft.pending))
                for index, draft in enumerate(drafts)
                if draft.pending
            ]
            scores += completer.masks.after(b"")
            for index, masked in unfinished:
                scores[index] = masked
            drawn = draw_each(scores, sampling, [draft.uniform() for draft in drafts])
            logprobs = scores[np.arange(len(rows)), drawn].tolist()
            tokens = drawn.tolist()
            pieces = completer.tokenizer.pieces
            for draft, token, logprob in zip(drafts, tokens, logprobs, strict=True):
                draft.append(token, pieces[token], logprob)
        else:
            tokens = [completer.draw_next(draft, row, sampling)[0] for draft, row in zip(drafts, scores, strict=True)]
        for row, token in zip(rows, tokens, strict=True):
            row.asks = [_Ask(row.asks[0].decoder_state, (token,))]


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
    possible = scores >= np.maximum(floors, np.finfo(np.float32).min)[:, None]
    rows, kept = np.divmod(possible.reshape(-1).nonzero()[0], scores.shape[1])  # quicker than nonzero in two dimensions
    weights = np.subtract(scores[rows, kept], peaks[rows], dtype=np.float64)
    np.maximum(weights, -800 * sampling.temperature, out=weights)  # exp(-800) is 0, and the quotient cannot overflow
    weights /= sampling.temperature
    np.exp(weights, out=weights)
    if not weights.all():
        possible = weights > 0
        rows, kept, weights = rows[possible], kept[possible], weights[possible]
    cumulative = weights.cumsum()
    ends = np.searchsorted(rows, numbers, side="right")  # of each row's candidates
    starts = np.concatenate(([0], ends[:-1]))
    before = np.where(starts > 0, cumulative[starts - 1], 0.0)
    targets = before + np.asarray(uniforms) * (cumulative[ends - 1] - before)
    drawn: IntArray = kept[np.clip(np.searchsorted(cumulative, targets, side="right"), starts, ends - 1)]
    return drawn
