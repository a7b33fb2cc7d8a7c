r"""What `complete` prints: texts, words with their probabilities, or JSON.

A result on one line has its newlines and backslashes escaped as in JSON, so that it can be read back: ``\n``, ``\\``.
"""

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gru_complete.runtime.draft import Completion
    from gru_complete.runtime.logprobs import Logprob, TokenLogprobs
    from gru_complete.runtime.words import Word


class Result(NamedTuple):
    """Something to print.

    Attributes:
        text: without ``--json``.
        record: with ``--json``; its keys are documented and only ever added to.
    """

    text: bytes
    record: dict[str, Any]

    @property
    def has_text(self) -> bool:
        """Whether there is anything in it."""
        return bool(self.text)

    @classmethod
    def from_completion(cls, completion: "Completion", *, prompt: bytes, model: str) -> "Result":
        """A completion; of a character that the prompt has begun, the rest is U+FFFD in the record."""
        record = {
            "prompt": shown_text(prompt),
            "text": shown_text(completion.data),
            "tokens": completion.tokens,
            "logprob": completion.logprob,
            "bytes": len(completion.data),
            "stop_reason": completion.stop_reason,
            "seed": completion.seed,
            "model": model,
        }
        if completion.logprobs:
            record["logprobs"] = [
                {**_logprob(token), "top": [_logprob(rival) for rival in token.top]} for token in completion.logprobs
            ]
        return cls(completion.data, record)

    @classmethod
    def from_words(cls, words: "Sequence[Word]", *, prompt: bytes, model: str, separator: bytes) -> "Result":
        """The words that may come next.

        Args:
            words: the likeliest first.
            prompt: what they continue.
            model: its name.
            separator: between words, where a tab is between a word and its probability.
        """
        fields = [b"%.4f\t%s" % (word.probability, word.word) for word in words]
        records = [
            {
                "word": shown_text(word.word),
                "text": shown_text(word.completion),
                "probability": word.probability,
                "upper": word.upper,
            }
            for word in words
        ]
        return cls(separator.join(fields), {"prompt": shown_text(prompt), "words": records, "model": model})

    def to_json(self) -> bytes:
        """The record as a line."""
        return json.dumps(self.record, ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\n"


def _logprob(piece: "Logprob | TokenLogprobs") -> dict[str, Any]:
    return {"text": shown_text(piece.text), "bytes": list(piece.text), "logprob": piece.logprob}


def on_one_line(text: bytes) -> bytes:
    r"""A text with its newlines and backslashes as in JSON."""
    return text.replace(b"\\", rb"\\").replace(b"\n", rb"\n")


def shown_text(data: bytes) -> str:
    """Bytes for JSON, which knows only text."""
    return data.decode("utf-8", "replace")
