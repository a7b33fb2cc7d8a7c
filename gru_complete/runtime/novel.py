"""What would copy the training corpus: tokens that begin a word which would be the last of N in a row from it.

A word of the completion is what lies between white space (``text/verbatim.py``); a word that the prompt began counts
whole. When the last N - 1 words also occur in the corpus in a row, no token may come that spells a beginning of a word
which follows them there: neither that word, whatever tokens it is made of, nor any word that has to begin like it. So
no N words of a completion occur in the corpus in a row, wherever the completion ends between two tokens. Where it may
end within a token (before a stop string, or after the full stop of a script without spaces), longer words that begin
with such a word are excluded too.

The rule is strict: if no token is left, the completion ends.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence

from gru_complete.text.verbatim import CorpusWords, FollowingWords

_TOKEN = re.compile(rb"(\s*)(\S*)")
_ENDS = tuple(character.encode() for character in "。！？")  # of sentences, without white space after them


class NovelGuard:
    """Finds the tokens that may not come next.

    Args:
        corpus: what must not be copied.
        num_words: the number of words in a row that must not occur in it, at least 2.
        pieces: what each token adds to the text, V byte strings.
        has_stops: whether the completion may end anywhere within a token.
    """

    def __init__(self, corpus: CorpusWords, num_words: int, pieces: Sequence[bytes], *, has_stops: bool) -> None:
        self._following_words = FollowingWords(corpus, num_words - 1)
        self._before = num_words - 1
        self._spaced: dict[bytes, list[int]] = {}  # tokens, by the letters after their white space
        self._bare: dict[bytes, list[int]] = {}
        self._several: list[int] = []  # with white space after letters: no tokenizer that we train has any
        for token, piece in enumerate(pieces):
            match = _TOKEN.fullmatch(piece)
            if match is None:
                self._several.append(token)
            elif match[2]:
                (self._spaced if match[1] else self._bare).setdefault(match[2], []).append(token)
        beginnings = {*self._spaced, *self._bare}
        self._may_be_cut = sorted(text for text in beginnings if has_stops or any(end in text for end in _ENDS))

    def forbidden(self, word_prefix: bytes, written: bytes) -> list[int]:
        """Return the tokens that may not come next, ascending.

        Args:
            word_prefix: the word within which the prompt ends; b"" if it ends with white space.
            written: what follows the prompt.
        """
        text = written if not written or written[:1].isspace() else word_prefix + written
        words = text.rsplit(None, self._before)[-self._before :]
        if len(words) < self._before:
            return self._several
        tables = (self._spaced, self._bare) if text[-1:].isspace() else (self._spaced,)
        tokens = set(self._several)
        for word in self._following_words.after(b" ".join(words)):
            beginnings = {word[:length] for length in range(1, len(word) + 1)}
            beginnings.update(self._longer(word))
            for table in tables:
                for beginning in beginnings & table.keys():
                    tokens.update(table[beginning])
        return sorted(tokens)

    def _longer(self, word: bytes) -> list[bytes]:
        """What begins with a word and is longer, and may be cut off after the word."""
        low = high = bisect_left(self._may_be_cut, word)
        while high < len(self._may_be_cut) and self._may_be_cut[high].startswith(word):
            high += 1
        return self._may_be_cut[low:high]
