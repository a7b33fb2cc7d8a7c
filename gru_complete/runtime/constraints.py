"""Which tokens may come next at all, before any sampling filter looks at their scores.

Shapes: V vocab_size (for the first token: D distinct texts that it can add).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from gru_complete.arrays import FloatArray


class Constraints(NamedTuple):
    """What the next token must respect.

    Attributes:
        mask: 0 for tokens that continue the text as valid UTF-8, -inf for the others, ``(V,)``.
        recent: the latest tokens, which the repetition penalty makes less likely.
        blocked: tokens that would repeat what was said. They may come if there are no others.
        forbidden: tokens that would copy the training corpus. They may never come.
    """

    mask: FloatArray
    recent: Collection[int] = ()
    blocked: Sequence[int] = ()
    forbidden: Sequence[int] = ()

    def apply(self, scores: FloatArray) -> FloatArray | None:
        """Return the scores ``(V,)`` with -inf for all tokens that may not come.

        None means that only forbidden tokens could come: then the text must end.
        """
        allowed: FloatArray = scores + self.mask
        if self.forbidden:
            allowed[list(self.forbidden)] = -np.inf
            if not allowed.max() > -np.inf:
                return None
        return without(allowed, self.blocked) if self.blocked else allowed


def without(scores: FloatArray, blocked: Sequence[int]) -> FloatArray:
    """Return scores ``(V,)`` with -inf for the blocked tokens; if no token would be left, the scores unchanged."""
    rest = scores.copy()
    rest[list(blocked)] = -np.inf
    return rest if rest.max() > -np.inf else scores
