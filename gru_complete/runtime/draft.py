"""A completion while it is drawn: which tokens came, how much of its text is certain, and why it ended.

A draft knows no model: it turns scores into the next token. So one prompt's completion (``completer.py``) and those of
many prompts side by side (``batch.py``) are the same code.

Shapes: V vocab_size.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gru_complete.arrays import FloatArray
from gru_complete.runtime.boundaries import TextCutter
from gru_complete.runtime.characters import CompletionEncoder, is_complete
from gru_complete.runtime.constraints import Constraints
from gru_complete.runtime.first_tokens import FirstTokens
from gru_complete.runtime.options import CompletionOptions
from gru_complete.runtime.predictor import DecoderState
from gru_complete.runtime.prompt_state import PromptState
from gru_complete.runtime.sampling import PENALTY_TOKENS, sample
from gru_complete.runtime.vocabulary import Vocabulary
from gru_complete.text.tokenizer import DOCUMENT_END

if TYPE_CHECKING:
    from gru_complete.runtime.logprobs import TokenLogprobs
    from gru_complete.runtime.novel import NovelGuard


class Completion(NamedTuple):
    """A finished completion; ``str(completion)`` is its text.

    Attributes:
        prompt: the text continued; b"" if only its state was given.
        data: the text of the completion, UTF-8. After a prompt that ends within a character, it begins with the rest
            of that character.
        tokens: the number of tokens drawn, including a document end and tokens past the end of the text; for a
            suggestion (``suggestions.py``), the fewest tokens that can write it.
        logprob: the sum of the tokens' natural log probabilities, at temperature 1 and before all filters; for a
            suggestion, the log probability of its text.
        stop_reason: "until", "stop", "max_tokens", "document_end", "confidence", or "novel": everything that might
            follow would copy the corpus.
        seed: of the random numbers.
        logprobs: of each token, if requested.
    """

    prompt: bytes
    data: bytes
    tokens: int
    logprob: float
    stop_reason: str
    seed: int
    logprobs: tuple[TokenLogprobs, ...] = ()

    def __str__(self) -> str:
        """Return the text; bytes that are no whole character become U+FFFD."""
        return self.data.decode(errors="replace")


class TextStream(Protocol):
    """A text that comes in pieces, each yielded as soon as it is certain.

    Every piece is whole UTF-8 characters, except for the rest of a character that the prompt began. Joined, the pieces
    are ``result.data``.

    Attributes:
        result: the finished text; None until the last piece was taken.
    """

    result: Completion | None

    def __iter__(self) -> Iterator[bytes]:
        """Yield the pieces, from the start each time."""
        ...


class Draft:
    """A completion that is being drawn.

    Args:
        vocabulary: what each token adds to the text.
        prompt: what is continued.
        options: how to draw, and where the completion ends.
        cutter: finds its end.
        recent: the last tokens of the prompt, if there is a repetition penalty.
        guard: keeps the completion from copying the corpus, if anything does.

    Attributes:
        pending: the first bytes of an unfinished character.
        uniform: returns the next random number from [0, 1).
        reason: why the draft ended, in the words of ``Completion.stop_reason``; None before the end.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        prompt: PromptState,
        options: CompletionOptions,
        cutter: TextCutter,
        *,
        recent: Iterable[int] = (),
        guard: NovelGuard | None = None,
    ) -> None:
        tail = prompt.whole_tail.encode()
        self.pending = prompt.pending
        self.uniform = random.Random(options.seed).random
        self.reason: str | None = None
        self._vocabulary = vocabulary
        self._options = options
        self._cutter = cutter
        self._encoder = CompletionEncoder(self.pending)
        self._recent = deque(recent, maxlen=PENALTY_TOKENS)
        self._num_words = options.words_not_repeated
        self._written = tail  # and all whole characters since; kept only if words must not be repeated
        self._pieces: list[bytes] = []  # of the text, as far as it is certain
        self._num_tokens = 0
        self._logprob = 0.0
        self._logprobs: list[TokenLogprobs] = []
        self._guard = guard
        self._word_prefix = unfinished_word(tail + self.pending) if guard is not None else b""
        self._after_prompt = b""  # kept only if there is a guard

    def draw_first(self, first_tokens: FirstTokens) -> tuple[DecoderState, int, bytes]:
        """Draw the text that the first token adds, then which token adds it, after which hypothesis.

        One random number is used, and a second one where several tokens add the same text.

        Returns:
            Where the token begins, the token, and what has become certain of the completion.
        """
        sampling, scores = self._options.sampling, first_tokens.log_probabilities
        constraints = self._first_constraints(first_tokens)
        allowed = constraints.apply(scores)
        assert allowed is not None  # nothing is forbidden as the first token
        index = sample(allowed, sampling, constraints.recent, self.uniform())
        row, token, _ = first_tokens.choose(index, self.uniform, greedy=sampling.temperature == 0)
        certain = self._append_scored(token, first_tokens.texts, scores, index)
        return first_tokens.rows[row].decoder_state, token, certain

    def draw_next(self, scores: FloatArray) -> tuple[int, bytes]:
        """Draw the next token, with one random number.

        Args:
            scores: natural log probabilities of what may follow, ``(V,)``.

        Returns:
            The token, and what has become certain of the completion.

        Raises:
            ModelError: no token has a finite score.
        """
        constraints = self._constraints()
        allowed = constraints.apply(scores)
        if allowed is None:
            return DOCUMENT_END, self._end("novel")
        token = sample(allowed, self._options.sampling, constraints.recent, self.uniform())
        return token, self._append_scored(token, self._vocabulary.pieces, scores, token)

    def append(self, token: int, added: bytes, logprob: float, logprobs: TokenLogprobs | None = None) -> bytes:
        """Append a token that was drawn.

        Args:
            token: its id.
            added: what it adds to the text.
            logprob: its natural log probability, at temperature 1 and before all filters.
            logprobs: the same with its rivals, if requested.

        Returns:
            What has become certain of the completion: whole characters.
        """
        self._num_tokens += 1
        self._logprob += logprob
        if logprobs is not None:
            self._logprobs.append(logprobs)
        if token == DOCUMENT_END:
            return self._end("document_end")
        self._recent.append(token)
        self.pending += added
        if self._guard is not None:
            self._after_prompt += added
        certain = b""
        if is_complete(self.pending):
            if self._num_words:
                self._written += self.pending
            certain = self._keep(self._cutter.feed(self.pending.decode()))
            self.pending = b""
            self.reason = self._cutter.reason
        if self.reason is None and self._num_tokens == self._options.max_tokens:
            certain += self._end("max_tokens")
        return certain

    def completion(self, prompt: bytes = b"") -> Completion:
        """Return the completion of a draft that has ended."""
        assert self.reason is not None
        data, logprobs = b"".join(self._pieces), tuple(self._logprobs)
        return Completion(prompt, data, self._num_tokens, self._logprob, self.reason, self._options.seed, logprobs)

    def _first_constraints(self, first_tokens: FirstTokens) -> Constraints:
        """What the text that the first token adds must respect."""
        has_penalty = self._options.sampling.repetition_penalty != 1
        return Constraints(
            self._vocabulary.first_masks.mask(first_tokens, self.pending),
            recent=first_tokens.indices_of_tokens(list(self._recent)) if has_penalty else (),
            blocked=self._repeating(first_tokens.places) if self._num_words else (),
        )

    def _constraints(self) -> Constraints:
        """What the next token must respect."""
        forbidden = () if self._guard is None else self._guard.forbidden(self._word_prefix, self._after_prompt)
        return Constraints(
            self._vocabulary.masks.after(self.pending),
            recent=self._recent,
            blocked=self._repeating(self._vocabulary.places) if self._num_words else (),
            forbidden=forbidden,
        )

    def _repeating(self, index: Mapping[bytes, Sequence[int]]) -> list[int]:
        """Return where those byte strings are that would repeat what was said."""
        if self.pending:
            return []
        from gru_complete.runtime.repeats import repeating  # here, since most completions may repeat words

        return repeating(self._written, self._num_words, index)

    def _append_scored(self, token: int, texts: Sequence[bytes], scores: FloatArray, index: int) -> bytes:
        """Append a token that adds ``texts[index]`` with the log probability ``scores[index]``."""
        logprobs = None
        if num_rivals := self._options.logprobs:
            from gru_complete.runtime.logprobs import token_logprobs  # here, since few completions need it

            logprobs = token_logprobs(texts, scores, index, num_rivals)
        return self.append(token, texts[index], float(scores[index]), logprobs)

    def _end(self, reason: str) -> bytes:
        """End here; return what was held back until now."""
        rest = self._keep(self._cutter.finish())
        self.reason = self._cutter.reason or reason
        return rest

    def _keep(self, text: str) -> bytes:
        """Keep text that is certain; return it as bytes."""
        data = self._encoder.encode(text)
        if data:
            self._pieces.append(data)
        return data


def unfinished_word(text: bytes) -> bytes:
    """Return the word that a text ends with; b"" if it ends with white space."""
    return b"" if not text or text[-1:].isspace() else text.split()[-1]
