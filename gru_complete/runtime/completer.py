"""Text in, more text out: reads the prompt, draws tokens, and lets through what is certain to be the completion.

A prompt may end anywhere, also within a word or a character: the first token is drawn by the text it adds, whatever
tokens the prompt's last word is made of (``segmentation.py``). Completions are exact functions of model, prompt,
options and seed: one random number is used per token drawn, and one more where the first has several segmentations.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gru_complete.model_dir import load_model
from gru_complete.overlay import Overlay
from gru_complete.runtime.boundaries import CONTEXT_CHARACTERS, TextCutter, boundary
from gru_complete.runtime.characters import CharacterMasks, continues, is_complete, unfinished
from gru_complete.runtime.options import CompletionOptions, SamplingOptions, check_range, stop_text
from gru_complete.runtime.predictor import Predictor, Reading
from gru_complete.runtime.sampling import candidates, draw, log_probability
from gru_complete.runtime.segmentation import DEFAULT_WIDTH, Hypotheses, Openings, PieceIndex
from gru_complete.runtime.stepper import FloatArray, Stepper
from gru_complete.text.tokenizer import DOCUMENT_END, Tokenizer

PENALTY_TOKENS = 64  # how far back the repetition penalty looks: llama.cpp's default
READ_BYTES = 1 << 16  # of the prompt at a time

# A stranger's weights may overflow: `candidates` then says so, and numpy need not.
_overflow_allowed = partial(np.errstate, over="ignore", invalid="ignore")


@dataclass(frozen=True)
class Completion:
    """A finished completion.

    Args:
        prompt: the text continued.
        text: the completion, UTF-8; where the prompt ends within a character, the rest of that comes first.
        tokens: how many were drawn, with a document end and those past the end of the text.
        logprob: the sum of their natural log probabilities at temperature 1, nothing filtered.
        stop_reason: "until", "stop", "max_tokens", "document_end" or "confidence".
        seed: of the random numbers.
    """

    prompt: bytes
    text: bytes
    tokens: int
    logprob: float
    stop_reason: str
    seed: int


class Context(NamedTuple):
    """A text that was read, ready to be continued any number of times, or to be read on.

    Attributes:
        reading: where its last segment begins: what is before it was read in its one canonical segmentation.
        segment: the bytes of that segment so far; none only at a document's start.
        overlay: what the finished segments have said. A completion does not add to it.
        recent: the last tokens of the finished segments, at most ``PENALTY_TOKENS``.
        tail: the last characters of the text, at most ``CONTEXT_CHARACTERS``.
    """

    reading: Reading
    segment: bytes
    overlay: Overlay | None
    recent: tuple[int, ...]
    tail: str


class CompletionStream:
    """The pieces of one completion, as they become certain.

    Iterating draws the tokens. Every piece is whole UTF-8 characters, but for the rest of one that the prompt has
    begun; joined they are ``result.text``.

    Attributes:
        result: the finished completion; None until the last piece was taken.
    """

    def __init__(
        self, completer: Completer, prompt: bytes, context: Context, openings: Openings, options: CompletionOptions
    ) -> None:
        self.result: Completion | None = None
        self._openings = openings
        self._completer = completer
        self._prompt = prompt
        self._context = context
        self._options = options

    def __iter__(self) -> Iterator[bytes]:
        """Draw the completion, from its start each time."""
        completer, options = self._completer, self._options
        context = self._context
        recent = deque(completer.recent_tokens(context), maxlen=PENALTY_TOKENS)
        uniform = random.Random(options.seed).random
        text: list[bytes] = []
        pending = unfinished(context.segment)  # the first bytes of an unfinished character
        of_prompt = len(pending)  # so many bytes of the first character are the prompt's
        cutter = completer.cutter(context.tail[:-1] if pending else context.tail, options)
        reading, token = context.reading, DOCUMENT_END
        num_tokens = 0
        logprob = 0.0
        least_logprob = math.log(options.min_confidence) if options.min_confidence else -math.inf
        reason = "max_tokens"
        for num_tokens in range(1, options.max_tokens + 1):
            with _overflow_allowed():
                if num_tokens == 1:
                    reading, token, written, token_logprob = completer.first_token(
                        self._openings, recent, pending, options.sampling, uniform
                    )
                else:
                    reading = completer.predictor.step(reading, token)
                    scores = completer.predictor.scores(reading, context.overlay)
                    token, token_logprob = completer.next_token(scores, recent, pending, options.sampling, uniform())
                    written = completer.tokenizer.pieces[token]
            if logprob + token_logprob < least_logprob:
                num_tokens -= 1
                reason = "confidence"
                break
            logprob += token_logprob
            if token == DOCUMENT_END:
                reason = "document_end"
                break
            recent.append(token)
            pending += written
            if is_complete(pending):
                certain = cutter.feed(pending.decode()).encode()
                pending = b""
                if certain:
                    certain, of_prompt = certain[of_prompt:], 0
                    text.append(certain)
                    yield certain
                if cutter.reason:
                    break
        if not cutter.reason and (rest := cutter.finish().encode()[of_prompt:]):
            text.append(rest)
            yield rest
        reason = cutter.reason or reason
        self.result = Completion(self._prompt, b"".join(text), num_tokens, logprob, reason, options.seed)


class Completer:
    """Continues text with one model.

    Args:
        predictor: the model, one step at a time.
        tokenizer: its tokenizer.
        abbreviations: words that a period follows inside its corpus's sentences, without the period.
        adapts: whether completions learn from their prompt; as the model's memory says, if omitted.
        width: segmentations of the prompt's end that a completion is made of, as ``Hypotheses.open`` takes it.
        fingerprint: of the model, by which the contexts of others are told from its own.
    """

    def __init__(
        self,
        predictor: Predictor,
        tokenizer: Tokenizer,
        *,
        abbreviations: Iterable[str] = (),
        adapts: bool | None = None,
        width: int | None = DEFAULT_WIDTH,
        fingerprint: str = "",
    ) -> None:
        self.predictor = predictor
        self.tokenizer = tokenizer
        self.fingerprint = fingerprint
        self.pieces = PieceIndex(tokenizer.pieces)
        self.width = width
        self.adapts = predictor.memory is not None and (predictor.memory.adapts if adapts is None else adapts)
        self._abbreviations = frozenset(abbreviations)
        self.masks = CharacterMasks(tokenizer.pieces)

    @classmethod
    def load(cls, path: Path, *, adapts: bool | None = None) -> Completer:
        """Load a finished model.

        Args:
            path: its directory.
            adapts: whether completions learn from their prompt; as the tuning part has shown, if omitted.

        Raises:
            ModelError: the directory is no model or a damaged one.
        """
        model = load_model(path)
        predictor = Predictor(Stepper(model.manifest.arch, model.weights), model.memory)
        return cls(
            predictor,
            model.tokenizer,
            abbreviations=model.manifest.tokenizer["abbreviations"],
            adapts=adapts,
            fingerprint=model.fingerprint,
        )

    def read(
        self,
        prompt: bytes | Iterable[bytes],
        context: Context | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Context:
        """Read a text, in constant memory; the same text gives the same context wherever it was cut.

        Args:
            prompt: the text, whole or in blocks; it may be empty.
            context: where the text before it ended; if omitted, a document begins.
            progress: is told after each block how many bytes were read so far.
        """
        with _overflow_allowed():
            reading, segment, overlay, recent, tail = context or self._document_start()
            before = tail[: max(0, len(tail) - len(segment.decode(errors="replace")))]  # what precedes the segment
            num_bytes = 0
            for block in _blocks(prompt):
                data = segment + block
                ids, segment = self.tokenizer.encode_finished(data)
                tokens = ids.tolist()
                reading = self.predictor.read(reading, tokens)
                recent = (*recent, *tokens[-PENALTY_TOKENS:])[-PENALTY_TOKENS:]
                if overlay is not None and tokens:
                    if context is not None and overlay is context.overlay:
                        overlay = overlay.fork()
                    for token in tokens:
                        overlay.learn(token)
                before = _last_characters(before, data[: len(data) - len(segment)])
                num_bytes += len(block)
                if progress is not None:
                    progress(num_bytes)
        return Context(reading, segment, overlay, recent, _last_characters(before, segment))

    def hypotheses(self, context: Context) -> Hypotheses:
        """Return the segmentations of the text's last segment: the probability of what follows the text."""
        reading, segment, overlay, _, _ = context
        return Hypotheses.open(self.predictor, self.pieces, reading, segment, overlay, width=self.width)

    def openings(self, context: Context) -> Openings:
        """Return what the first token may add to the text; something of it is text (``opening_mask``)."""
        hypotheses = self.hypotheses(context)
        openings = hypotheses.openings()
        mask = self.opening_mask(openings, unfinished(context.segment))
        if not bool((openings.log_probabilities + mask > -np.inf).any()):
            openings = hypotheses.thorough().openings()
        return openings

    def opening_mask(self, openings: Openings, pending: bytes) -> FloatArray:
        """Return 0 for each opening that may follow the first bytes of a character, -inf for the others, ``(N,)``."""
        first = len(self.pieces.distinct)
        mask = np.full(len(openings.texts), -np.inf, np.float32)
        mask[self.pieces.place] = self.masks.after(pending)
        mask[first:] = [0.0 if continues(pending, text) else -np.inf for text in openings.texts[first:]]
        return mask

    def recent_tokens(self, context: Context) -> tuple[int, ...]:
        """Return the last tokens of the text, of its last segment those of the canonical segmentation."""
        return (*context.recent, *self.tokenizer.encode_segment(context.segment))[-PENALTY_TOKENS:]

    def stream(self, prompt: bytes | Context, options: CompletionOptions) -> CompletionStream:
        """Continue a prompt piece by piece; the prompt of a completion of a context is given as empty."""
        text, context = (b"", prompt) if isinstance(prompt, Context) else (prompt, self.read(prompt))
        return CompletionStream(self, text, context, self.openings(context), options)

    def complete(self, prompt: bytes | Context, options: CompletionOptions) -> Completion:
        """Continue a prompt."""
        return next(self.complete_many(prompt, options, 1))

    def complete_many(self, prompt: bytes | Context, options: CompletionOptions, n: int) -> Iterator[Completion]:
        """Continue a prompt n times, with the seeds ``options.seed``, ``options.seed + 1``, ...; it is read once.

        Raises:
            UsageError: n is out of range (when the first completion is asked for).
        """
        check_range("n", n, 1, 10_000)
        text, context = (b"", prompt) if isinstance(prompt, Context) else (prompt, self.read(prompt))
        openings = self.openings(context)
        for index in range(n):
            seed = (options.seed + index) % 2**64
            stream = CompletionStream(self, text, context, openings, replace(options, seed=seed))
            for _ in stream:
                pass
            assert stream.result is not None
            yield stream.result

    def first_token(
        self,
        openings: Openings,
        recent: Iterable[int],
        pending: bytes,
        sampling: SamplingOptions,
        uniform: Callable[[], float],
    ) -> tuple[Reading, int, bytes, float]:
        """Draw what the first token adds to the text, then from its posterior which token that is, after what.

        Args:
            openings: what it may add.
            recent: the last tokens of the text.
            pending: the first bytes of a character that the text did not finish.
            sampling: how to draw.
            uniform: gives random numbers from [0, 1): one is taken, a second where several tokens give the text.

        Returns:
            Where the token begins, the token, what it adds to the text, and the natural log probability of that at
            temperature 1, nothing filtered.
        """
        mask = self.opening_mask(openings, pending)
        scores = openings.log_probabilities
        again = openings.of_tokens(list(recent)) if sampling.repetition_penalty != 1 else []
        found, weights = candidates(scores, sampling, recent=again, mask=mask)
        index = int(found[draw(weights, uniform())])
        choices = openings.choices(index)
        shares = np.array([choice.share for choice in choices])
        if sampling.temperature == 0:
            chosen = choices[int(shares.argmax())]
        else:
            chosen = choices[draw(shares, uniform()) if len(choices) > 1 else 0]
        return openings.rows[chosen.row].reading, chosen.token, openings.texts[index], float(scores[index])

    def next_token(
        self, scores: FloatArray, recent: Iterable[int], pending: bytes, sampling: SamplingOptions, uniform: float
    ) -> tuple[int, float]:
        """Draw the token that follows, with a random number from [0, 1).

        Args:
            scores: unnormalised log probabilities, ``(V,)``.
            recent: its last tokens.
            pending: the first bytes of a character it did not finish.
            sampling: how to draw.
            uniform: the random number.

        Returns:
            The token, and its natural log probability at temperature 1, nothing filtered.
        """
        tokens, weights = candidates(scores, sampling, recent=recent, mask=self.masks.after(pending))
        token = int(tokens[draw(weights, uniform)])
        return token, log_probability(scores, token)

    def _document_start(self) -> Context:
        overlay = Overlay() if self.adapts else None
        if overlay is not None:
            overlay.learn(DOCUMENT_END)
        return Context(self.predictor.start(), b"", overlay, (), "")

    def cutter(self, before: str, options: CompletionOptions) -> TextCutter:
        """Return what finds the end of a completion that follows the text ``before``."""
        until = boundary(options.until, before=before, abbreviations=self._abbreviations)
        return TextCutter(until, [stop_text(stop) for stop in options.stop])


def _blocks(prompt: bytes | Iterable[bytes]) -> Iterator[bytes]:
    """The prompt in blocks of at most ``READ_BYTES``."""
    for block in [prompt] if isinstance(prompt, bytes) else prompt:
        for start in range(0, len(block), READ_BYTES):
            yield block[start : start + READ_BYTES]


def _last_characters(before: str, text: bytes) -> str:
    """The last characters of a text that goes on with whole characters."""
    return (before + text[-4 * CONTEXT_CHARACTERS :].decode(errors="replace"))[-CONTEXT_CHARACTERS:]
