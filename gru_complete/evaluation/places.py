"""Evenly spaced places in a text, so that a small sample represents all of it and is the same every time."""

from collections.abc import Sequence
from itertools import accumulate


def evenly_spaced(total: int, count: int) -> list[int]:
    """Cut ``range(total)`` into ``count`` equal parts and return the middle of each, ascending."""
    return [(2 * index + 1) * total // (2 * count) for index in range(count)]


def places_in_parts(sizes: Sequence[int], count: int) -> list[list[int]]:
    """Spread places evenly over parts that follow each other, such as the documents of a text.

    Args:
        sizes: the size of each part, in any unit.
        count: how many places; at most one for each unit.

    Returns:
        For each part its places, ascending, counted from the part's start.
    """
    total = sum(sizes)
    places = iter(evenly_spaced(total, min(count, total)))
    place = next(places, total)
    parts: list[list[int]] = []
    for end, size in zip(accumulate(sizes), sizes, strict=True):
        parts.append([])
        while place < end:
            parts[-1].append(place - (end - size))
            place = next(places, total)
    return parts
