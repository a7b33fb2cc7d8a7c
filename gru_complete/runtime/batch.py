"""Many prompts at once: their texts are read, and their tokens drawn, as the rows of one product.

A row is a prompt on its way to its completion. In each round every row requests something of the model: to read one or
more tokens, and perhaps to predict what follows. All requests of a round are answered together. A row that ends makes
room for the next prompt, so the product stays wide. No row influences another.

Reading the prompt and finding its segmentations is the same code as for a single prompt: generators that yield what
must be read (``PromptReader.read_in_steps``, ``Hypotheses.read_in_steps``).

Shapes: B rows, V vocab_size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from gru_complete.arrays import FloatArray, IntArray
from gru_complete.ngrams.overlay import Overlay
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.draft import Completion, Draft
from gru_complete.runtime.options import CompletionOptions, SamplingOptions
from gru_complete.runtime.predictor import DecoderState, overflow_allowed
from gru_complete.runtime.prompt_state import PromptState
from gru_complete.runtime.result_iterator import ResultIterator
from gru_complete.runtime.sampling import damaged_scores
from gru_complete.runtime.segmentation import Node, fill

WIDTH = 256
"""Rows at once, and in one product. With half of them a prompt took 11 % (until a sentence) to 16 % (a word) longer."""
_MAX_WAITING = 2 * WIDTH  # prompts that were started and not yet returned, if one before them takes long

NextPrompt = Callable[[bool], bytes | None]
"""Returns the next prompt; see ``complete_each``."""


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
        next_prompt: returns the next prompt. Called with False, it may return None if none is available yet. It raises
            EOFError when there are no more; any other error is raised once all earlier prompts are completed.
        options: how, with the same seed for each; neither ``beam`` nor ``min_confidence``.
        before: what comes before each prompt; the start of a document if omitted.
        width: the most rows at once.

    Yields:
        The completions, in the order of their prompts, each as soon as it and all before it are known.

    Raises:
        ModelError: the model's scores are not finite.
        UsageError: ``novel`` without a corpus.
    """
    rows: list[_Row] = []
    finished: dict[int, Completion] = {}
    num_started = num_yielded = 0
    end: Exception | None = None
    answerer = _Answerer(completer, options)
    before = completer.read(b"", before)
    while True:
        # 1. Fill free rows with the next prompts.
        while end is None and len(rows) < width and num_started - num_yielded < _MAX_WAITING:
            try:
                prompt = next_prompt(not rows)
            except Exception as error:
                end = error
                break
            if prompt is None:
                break
            rows.append(_Row(num_started, prompt, completer, before, options))
            num_started += 1
        if not rows:
            assert end is not None
            if isinstance(end, EOFError):
                return
            raise end
        # 2. Let every row take one step.
        answerer.answer(rows)
        # 3. Take out the rows that have ended.
        for row in rows:
            if row.draft is not None and row.draft.reason is not None:
                finished[row.number] = row.draft.completion(row.prompt)
        rows = [row for row in rows if row.number not in finished]
        while num_yielded in finished:
            yield finished.pop(num_yielded)
            num_yielded += 1


class _Request:
    """Tokens to read, and perhaps a node to predict after them.

    Attributes:
        decoder_state: where the tokens begin; once all are read, where they end.
        tokens: what to read; may be empty.
        node: receives the prediction.
        num_read: how many of the tokens the network has read.
        state: the network's recurrent state after them, ``(L, S, H)``.
    """

    __slots__ = ("decoder_state", "node", "num_read", "state", "tokens")

    def __init__(self, decoder_state: DecoderState, tokens: Sequence[int], node: Node | None = None) -> None:
        self.decoder_state = decoder_state
        self.tokens = tokens
        self.node = node
        self.num_read = 0
        self.state = decoder_state.state

    @property
    def is_read(self) -> bool:
        """Whether all tokens were read."""
        return self.num_read == len(self.tokens)


class _Row:
    """A prompt on its way to its completion.

    Attributes:
        number: of the prompt.
        prompt: the prompt.
        requests: what it needs next: several nodes, or a single request.
        overlay: what was learnt from its text.
        draft: what is drawn, from the first token on; None while the prompt is being read.
    """

    def __init__(
        self, number: int, prompt: bytes, completer: Completer, before: PromptState, options: CompletionOptions
    ) -> None:
        self.number = number
        self.prompt = prompt
        self.requests: list[_Request] = []
        self.overlay: Overlay | None = None
        self.draft: Draft | None = None
        self._completer = completer
        self._options = options
        self._steps = self._prepare(before)
        self.prepare()

    def prepare(self) -> None:
        """Read the prompt and draw the first token, as far as the requests are answered."""
        self.requests = next(self._steps)
        if self.draft is not None:
            self._steps = iter(())  # frees the segmentations, and the row itself

    def _prepare(self, before: PromptState) -> Iterator[list[_Request]]:
        """Read the prompt, find its segmentations, draw the first token; yields what must be read for each step."""
        completer = self._completer
        reading = ResultIterator(completer.reader.read_in_steps(self.prompt, before))
        for needed in reading:
            request = _Request(needed.decoder_state, needed.tokens)
            yield [request]
            needed.decoder_state = request.decoder_state
        prompt_state = reading.result
        self.overlay = prompt_state.overlay
        hypotheses = completer.hypotheses(prompt_state)
        for nodes in hypotheses.read_in_steps():
            yield [_Request(node.before, [] if node.token is None else [node.token], node) for node in nodes]
        draft = completer.draft(prompt_state, self._options)
        decoder_state, token, _ = draft.draw_first(completer.first_tokens(prompt_state, hypotheses))
        self.draft = draft
        yield [_Request(decoder_state, [token])]


class _Answerer:
    """Answers the requests of rows, all at once."""

    def __init__(self, completer: Completer, options: CompletionOptions) -> None:
        self._predictor = completer.predictor
        self._vocabulary = completer.vocabulary
        self._options = options
        sampling = options.sampling
        filters = sampling.top_k, 1 - sampling.top_p, 1 - sampling.typical, 1 - sampling.repetition_penalty
        # Whether only temperature and min-p filter: then all rows are drawn at once.
        self._is_plain = not (any(filters) or options.words_not_repeated or options.logprobs or options.novel)

    def answer(self, rows: Sequence[_Row]) -> None:
        """Read the next token of every request, and let the rows continue whose requests are answered."""
        with overflow_allowed():
            self._step([request for row in rows for request in row.requests if not request.is_read])
            ready = [row for row in rows if row.requests[0].is_read]  # only a request that is alone has many tokens
            drawing = [row for row in ready if row.draft is not None]
            preparing = [row for row in ready if row.draft is None]
            predicted = [(row, row.requests[0]) for row in drawing]
            predicted += [(row, request) for row in preparing for request in row.requests if request.node is not None]
            for start in range(0, len(predicted), WIDTH):
                chunk = predicted[start : start + WIDTH]
                scores = self._predictor.log_probabilities(
                    [request.decoder_state for _, request in chunk], [row.overlay for row, _ in chunk]
                )
                num_drawing = sum(row.draft is not None for row, _ in chunk)  # these come first
                if num_drawing:
                    self._draw([row for row, _ in chunk[:num_drawing]], scores[:num_drawing])
                if num_drawing < len(chunk):
                    # A copy, because nodes live longer than the round.
                    self._fill([request for _, request in chunk[num_drawing:]], scores[num_drawing:].copy())
        for row in preparing:
            row.prepare()

    def _step(self, requests: Sequence[_Request]) -> None:
        """Let the network read one token of each request."""
        for start in range(0, len(requests), WIDTH):
            chunk = requests[start : start + WIDTH]
            hidden, states = self._predictor.step_states(
                [request.tokens[request.num_read] for request in chunk], [request.state for request in chunk]
            )
            for request, output, state in zip(chunk, hidden, states, strict=True):
                request.num_read += 1
                if request.is_read:
                    request.decoder_state = self._predictor.assemble(
                        request.decoder_state, request.tokens, output, state
                    )
                else:
                    request.state = state

    def _fill(self, requests: Sequence[_Request], scores: FloatArray) -> None:
        """Store predictions ``(B, V)`` in the nodes of requests, which keep them."""
        nodes = [request.node for request in requests if request.node is not None]
        for node, request in zip(nodes, requests, strict=True):
            node.decoder_state = request.decoder_state
        fill(self._vocabulary.index, nodes, scores)

    def _draw(self, rows: Sequence[_Row], scores: FloatArray) -> None:
        """Draw the next token of each row, from its scores ``(B, V)``, which are overwritten."""
        drafts = [row.draft for row in rows if row.draft is not None]
        if self._is_plain:
            tokens = self._draw_plainly(drafts, scores)
        else:
            tokens = [draft.draw_next(row)[0] for draft, row in zip(drafts, scores, strict=True)]
        for row, token in zip(rows, tokens, strict=True):
            row.requests = [_Request(row.requests[0].decoder_state, (token,))]

    def _draw_plainly(self, drafts: Sequence[Draft], scores: FloatArray) -> list[int]:
        """Draw the next token of each draft as ``Draft.draw_next`` would, all at once."""
        masks, pieces = self._vocabulary.masks, self._vocabulary.pieces
        unfinished = [
            (index, scores[index] + masks.after(draft.pending)) for index, draft in enumerate(drafts) if draft.pending
        ]
        scores += masks.after(b"")
        for index, masked in unfinished:
            scores[index] = masked
        drawn = draw_each(scores, self._options.sampling, [draft.uniform() for draft in drafts])
        logprobs: list[float] = scores[np.arange(len(drafts)), drawn].tolist()
        tokens: list[int] = drawn.tolist()
        for draft, token, logprob in zip(drafts, tokens, logprobs, strict=True):
            draft.append(token, pieces[token], logprob)
        return tokens


def draw_each(scores: FloatArray, sampling: SamplingOptions, uniforms: Sequence[float]) -> IntArray:
    """Draw a token from each of B rows: the vectorised twin of ``sampling.sample``.

    Except for rounding, each row gives the token that it would give alone
    (``test_drawing_from_many_rows_is_drawing_from_each``).

    Args:
        scores: natural log probabilities up to a constant, ``(B, V)``; -inf for tokens that may not come.
        sampling: only temperature and min-p count.
        uniforms: B random numbers from [0, 1).

    Returns:
        The tokens, ``(B,)``.

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
    rows, kept = np.divmod(possible.reshape(-1).nonzero()[0], scores.shape[1])  # faster than nonzero in two dimensions
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
