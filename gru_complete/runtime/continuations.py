"""What may come next, grouped by its first character: beam search asks which characters would end a text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gru_complete.arrays import IntArray
from gru_complete.runtime.repeats import places


class Continuations:
    """Byte strings that may come next, grouped by their first character; made once for a vocabulary.

    Args:
        texts: D byte strings; b"" for the document end.

    Attributes:
        texts: the same.
        index: where each byte string is.
        characters: the different first characters; the first is "", for what does not begin with a whole character.
        first: which of them each text begins with, ``(D,)``.
    """

    def __init__(self, texts: Sequence[bytes]) -> None:
        self.texts = texts
        self.index = places(texts)
        numbers = {"": 0}
        begins = [text[:4].decode(errors="ignore")[:1] for text in texts]
        self.first: IntArray = np.array([numbers.setdefault(character, len(numbers)) for character in begins], np.intp)
        self.characters = list(numbers)
