"""A completion while it is drawn: which tokens came, what is certain of its text, and why it ended.

It knows no model: one prompt's completion (``completer.py``) and those of many at once (``batch.py``) are drafts alike.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gru_complete.runtime.boundaries import TextCutter
from gru_complete.runtime.characters import is_complete
from gru_complete.runtime.options import CompletionOptions
from gru_complete.text.tokenizer import DOCUMENT_END

if TYPE_CHECKING:
    from gru_complete.runtime.logprobs import TokenLogprobs
    from gru_complete.runtime.novel import NovelGuard

PENALTY_TOKENS = 64  # how far back the repetition penalty looks: llama.cpp's default


class Completion(NamedTuple):
    """A finished completion; ``str(completion)`` is its text.

    Attributes:
        prompt: the text continued.
        data: the text of the completion, UTF-8. After a prompt that ends within a character, it begins with the rest
            of that character.
        tokens: how many were drawn, with a document end and those past the end of the text; of an offer
            (``offers.py``), the fewest that can write it.
        logprob: the sum of their natural log probabilities at temperature 1, nothing filtered; of an offer, that of
            its text.
        stop_reason: "until", "stop", "max_tokens", "document_end", "confidence", or "novel": whatever might follow
            would copy the corpus.
        seed: of the random numbers.
        logprobs: of each token, if they were asked for.
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


class Draft:
    """A completion that is being drawn.

    Args:
        options: how, and where it ends.
        cutter: finds its end.
        recent: the last tokens of the prompt.
        tail: the prompt's last characters.
        pending: the first bytes of a character that the prompt did not finish; ``tail`` is without them.
        guard: what keeps it from copying the corpus, if anything does.

    Attributes:
        recent: the last tokens of the text.
        pending: the first bytes of an unfinished character.
        uniform: gives the next random number from [0, 1).
        reason: why it has ended, as ``Completion`` names it; None before.
        may_block: whether ``blocked`` may find something.
        num_rivals: how many of each token's rivals to name.
        is_guarded: whether ``forbidden`` may find something.
    """

    def __init__(
        self,
        options: CompletionOptions,
        cutter: TextCutter,
        *,
        recent: Iterable[int],
        tail: str,
        pending: bytes,
        guard: NovelGuard | None = None,
    ) -> None:
        self.recent = deque(recent, maxlen=PENALTY_TOKENS)
        self.pending = pending
        self.uniform = random.Random(options.seed).random
        self.reason: str | None = None
        self._options = options
        self._cutter = cutter
        self._of_prompt = len(pending)  # so many bytes of the first character are the prompt's
        self._words = options.words_not_repeated
        self.may_block = self._words > 0
        self.num_rivals = options.logprobs
        self._written = tail.encode()  # and all whole characters since
        self._text: list[bytes] = []
        self._tokens = 0
        self._logprob = 0.0
        self._logprobs: list[TokenLogprobs] = []
        self._guard = guard
        self.is_guarded = guard is not None
        self._word_prefix = unfinished_word(tail.encode() + pending) if guard is not None else b""
        self._after_prompt = b""

    def forbidden(self) -> list[int]:
        """Return the tokens that must not come next, since they would copy the corpus."""
        return [] if self._guard is None else self._guard.forbidden(self._word_prefix, self._after_prompt)

    def end(self, reason: str) -> bytes:
        """End where it is; returns what was held back until now."""
        return self._end(reason)

    def blocked(self, index: Mapping[bytes, Sequence[int]]) -> list[int]:
        """Return where those byte strings are that may not come next, since they would repeat what was said."""
        if not self.may_block or self.pending:
            return []
        from gru_complete.runtime.repeats import repeating  # here, since most completions may repeat

        return repeating(self._written, self._words, index)

    def append(self, token: int, written: bytes, logprob: float, logprobs: TokenLogprobs | None = None) -> bytes:
        """Take the next token.

        Args:
            token: its id.
            written: what it adds to the text.
            logprob: the natural logarithm of its probability at temperature 1, nothing filtered.
            logprobs: the same with its rivals, where they were asked for.

        Returns:
            What is now certain to belong to the completion: whole characters.
        """
        self._tokens += 1
        self._logprob += logprob
        if logprobs is not None:
            self._logprobs.append(logprobs)
        if token == DOCUMENT_END:
            return self._end("document_end")
        self.recent.append(token)
        self.pending += written
        if self.is_guarded:
            self._after_prompt += written
        certain = b""
        if is_complete(self.pending):
            if self.may_block:
                self._written += self.pending
            certain = self._certain(self._cutter.feed(self.pending.decode()))
            self.pending = b""
            self.reason = self._cutter.reason
        if self.reason is None and self._tokens == self._options.max_tokens:
            certain += self._end("max_tokens")
        return certain

    def completion(self, prompt: bytes) -> Completion:
        """Return it, once it has ended."""
        assert self.reason is not None
        text = b"".join(self._text)
        logprobs = tuple(self._logprobs)
        return Completion(prompt, text, self._tokens, self._logprob, self.reason, self._options.seed, logprobs)

    def _end(self, reason: str) -> bytes:
        """End here; returns what was held back until now."""
        rest = self._certain(self._cutter.finish())
        self.reason = self._cutter.reason or reason
        return rest

    def _certain(self, text: str) -> bytes:
        data = text.encode()
        if data and self._of_prompt:
            data, self._of_prompt = data[self._of_prompt :], 0
        if data:
            self._text.append(data)
        return data


def unfinished_word(text: bytes) -> bytes:
    """Return the word that a text ends with, b"" if it ends with white space."""
    return b"" if not text or text[-1:].isspace() else text.split()[-1]
