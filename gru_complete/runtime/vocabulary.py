"""The byte strings that tokens add to a text, indexed once per model for everything that asks about them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from gru_complete.runtime.characters import CharacterMasks
from gru_complete.runtime.first_tokens import FirstTokenMasks
from gru_complete.runtime.piece_index import PieceIndex

if TYPE_CHECKING:
    from gru_complete.runtime.continuations import Continuations


class Vocabulary:
    """The tokens of a model, as the texts they add.

    Args:
        pieces: the bytes of each token, V byte strings; b"" for the document end.

    Attributes:
        pieces: the same.
        index: the pieces as sorted byte strings.
        masks: which tokens may follow each beginning of a character.
        first_masks: which texts the first token may add.
    """

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces
        self.index = PieceIndex(pieces)
        self.masks = CharacterMasks(pieces)
        self.first_masks = FirstTokenMasks(self.index, self.masks)

    @cached_property
    def places(self) -> dict[bytes, list[int]]:
        """The tokens of each byte string, as ``repeats.repeating`` takes them."""
        from gru_complete.runtime.repeats import places  # here, since most completions may repeat words

        return places(self.pieces)

    @cached_property
    def continuations(self) -> Continuations:
        """The pieces as beam search takes them."""
        from gru_complete.runtime.continuations import Continuations  # here, since only beam search needs it

        return Continuations(self.pieces)
