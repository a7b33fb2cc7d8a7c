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
    """A result to print.

    Attributes:
        text: printed without ``--json``.
        record: printed with ``--json``. Its keys are documented; new ones may be added, none is removed.
    """

    text: bytes
    record: dict[str, Any]

    @property
    def has_text(self) -> bool:
        """Whether the result is not empty."""
        return bool(self.text)

    @classmethod
    def from_completion(cls, completion: "Completion", *, prompt: bytes, model: str) -> "Result":
        """Return the result for a completion.

        In the record, the rest of a character that the prompt began is U+FFFD.
        """
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
        """Return the result for a list of words that may come next.

        Args:
            words: the most likely first.
            prompt: what they continue.
            model: the name of the model.
            separator: between words; a tab separates a word from its probability.
        """
        shown = (shown_word(word.word, word.completion) for word in words)
        fields = [
            b"%.4f\t%s" % (word.probability, text if separator == b"\0" else on_one_line(text).replace(b"\t", rb"\t"))
            for word, text in zip(words, shown, strict=True)
        ]
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
        """Return the record as a line of JSON."""
        return json.dumps(self.record, ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\n"


def _logprob(piece: "Logprob | TokenLogprobs") -> dict[str, Any]:
    return {"text": shown_text(piece.text), "bytes": list(piece.text), "logprob": piece.logprob}


def on_one_line(text: bytes) -> bytes:
    r"""Return a text with newlines and backslashes escaped as in JSON."""
    return text.replace(b"\\", rb"\\").replace(b"\n", rb"\n")


def shown_word(word: bytes, completion: bytes) -> bytes:
    """Return a word with what would be typed just before it, such as a quotation mark or ``~/``, but no white space.

    Args:
        word: all of it, including what the prompt has of it.
        completion: what would follow the prompt.
    """
    typed = completion.decode("utf-8", "surrogateescape").lstrip().encode("utf-8", "surrogateescape")
    return word if word.endswith(typed) else typed


def shown_text(data: bytes) -> str:
    """Return bytes as text for JSON; bytes that are not UTF-8 become U+FFFD."""
    return data.decode("utf-8", "replace")
