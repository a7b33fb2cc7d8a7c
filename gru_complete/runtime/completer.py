"""Text in, more text out: reads the prompt, draws tokens, and lets through what is certain to be the completion.

Completions are exact functions of model, prompt, options and seed: one random number is used per token drawn.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gru_complete.model_dir import load_model
from gru_complete.overlay import Overlay
from gru_complete.runtime.boundaries import CONTEXT_CHARACTERS, TextCutter, boundary
from gru_complete.runtime.characters import CharacterMasks, is_complete
from gru_complete.runtime.options import CompletionOptions, SamplingOptions, check_range, stop_text
from gru_complete.runtime.predictor import Predictor, Reading
from gru_complete.runtime.sampling import candidates, draw, log_probability
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
        text: the completion, UTF-8.
        tokens: how many were drawn, with a document end and those past the end of the text.
        logprob: the sum of their natural log probabilities at temperature 1, nothing filtered.
        stop_reason: "until", "stop", "max_tokens" or "document_end".
        seed: of the random numbers.
    """

    prompt: bytes
    text: bytes
    tokens: int
    logprob: float
    stop_reason: str
    seed: int


class Context(NamedTuple):
    """A text that was read, ready to be continued any number of times."""

    reading: Reading
    overlay: Overlay | None  # what the text itself has said; a completion does not add to it
    recent: tuple[int, ...]  # its last tokens, at most PENALTY_TOKENS
    tail: str  # its last characters, at most CONTEXT_CHARACTERS


class CompletionStream:
    """The pieces of one completion, as they become certain.

    Iterating draws the tokens. Every piece is whole UTF-8 characters; joined they are ``result.text``.

    Attributes:
        result: the finished completion; None until the last piece was taken.
    """

    def __init__(self, completer: Completer, prompt: bytes, context: Context, options: CompletionOptions) -> None:
        self.result: Completion | None = None
        self._completer = completer
        self._prompt = prompt
        self._context = context
        self._options = options

    def __iter__(self) -> Iterator[bytes]:
        """Draw the completion, from its start each time."""
        completer, options = self._completer, self._options
        reading, overlay, before, tail = self._context
        recent = deque(before, maxlen=PENALTY_TOKENS)
        uniform = random.Random(options.seed).random
        cutter = completer.cutter(tail, options)
        text: list[bytes] = []
        pending = b""  # the first bytes of an unfinished character
        token = num_tokens = 0
        logprob = 0.0
        reason = "max_tokens"
        for num_tokens in range(1, options.max_tokens + 1):
            with _overflow_allowed():
                if num_tokens > 1:
                    reading = completer.predictor.step(reading, token)
                scores = completer.predictor.scores(reading, overlay)
                token, token_logprob = completer.next_token(scores, recent, pending, options.sampling, uniform())
            logprob += token_logprob
            if token == DOCUMENT_END:
                reason = "document_end"
                break
            recent.append(token)
            pending += completer.tokenizer.pieces[token]
            if is_complete(pending):
                certain = cutter.feed(pending.decode()).encode()
                pending = b""
                if certain:
                    text.append(certain)
                    yield certain
                if cutter.reason:
                    break
        if not cutter.reason and (rest := cutter.finish().encode()):
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
    """

    def __init__(
        self,
        predictor: Predictor,
        tokenizer: Tokenizer,
        *,
        abbreviations: Iterable[str] = (),
        adapts: bool | None = None,
    ) -> None:
        self.predictor = predictor
        self.tokenizer = tokenizer
        self.adapts = predictor.memory is not None and (predictor.memory.adapts if adapts is None else adapts)
        self._abbreviations = frozenset(abbreviations)
        self._masks = CharacterMasks(tokenizer.pieces)

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
        return cls(predictor, model.tokenizer, abbreviations=model.manifest.tokenizer["abbreviations"], adapts=adapts)

    def read(self, prompt: bytes) -> Context:
        """Read a prompt, in blocks; the document's start is read before it, so it may be empty."""
        recent: list[int] = []
        blocks = (prompt[start : start + READ_BYTES] for start in range(0, len(prompt), READ_BYTES))
        with _overflow_allowed():
            reading = self.predictor.start()
            overlay = Overlay() if self.adapts else None
            if overlay is not None:
                overlay.learn(DOCUMENT_END)
            for encoded in self.tokenizer.encode_blocks(blocks):
                tokens = encoded.tolist()
                reading = self.predictor.read(reading, tokens)
                recent = (recent + tokens)[-PENALTY_TOKENS:]
                if overlay is not None:
                    for token in tokens:
                        overlay.learn(token)
        tail = prompt[-4 * CONTEXT_CHARACTERS :].decode(errors="replace")[-CONTEXT_CHARACTERS:]
        return Context(reading, overlay, tuple(recent), tail)

    def stream(self, prompt: bytes, options: CompletionOptions) -> CompletionStream:
        """Continue a prompt piece by piece."""
        return CompletionStream(self, prompt, self.read(prompt), options)

    def complete(self, prompt: bytes, options: CompletionOptions) -> Completion:
        """Continue a prompt."""
        return next(self.complete_many(prompt, options, 1))

    def complete_many(self, prompt: bytes, options: CompletionOptions, n: int) -> Iterator[Completion]:
        """Continue a prompt n times, with the seeds ``options.seed``, ``options.seed + 1``, ...; it is read once.

        Raises:
            UsageError: n is out of range (when the first completion is asked for).
        """
        check_range("n", n, 1, 10_000)
        context = self.read(prompt)
        for index in range(n):
            seed = (options.seed + index) % 2**64
            stream = CompletionStream(self, prompt, context, replace(options, seed=seed))
            for _ in stream:
                pass
            assert stream.result is not None
            yield stream.result

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
        tokens, weights = candidates(scores, sampling, recent=recent, mask=self._masks.after(pending))
        token = int(tokens[draw(weights, uniform)])
        return token, log_probability(scores, token)

    def cutter(self, before: str, options: CompletionOptions) -> TextCutter:
        """Return what finds the end of a completion that follows the text ``before``."""
        until = boundary(options.until, before=before, abbreviations=self._abbreviations)
        return TextCutter(until, [stop_text(stop) for stop in options.stop])
