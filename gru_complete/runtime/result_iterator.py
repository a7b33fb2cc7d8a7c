"""Loop over a generator and keep what it returns."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class ResultIterator(Generic[Item, Result]):
    """Loops over a generator and keeps its return value, which a ``for`` loop alone would drop.

    Several parts of the runtime are generators that yield what the model must read before they can continue: the
    caller decides whether it reads for one text or for many side by side.

    Attributes:
        result: what the generator returned; set when the loop is over.
    """

    result: Result

    def __init__(self, generator: Generator[Item, None, Result]) -> None:
        self._generator = generator

    def __iter__(self) -> Iterator[Item]:
        """Yield what the generator yields."""
        self.result = yield from self._generator
