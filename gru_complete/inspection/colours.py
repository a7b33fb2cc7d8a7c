"""A scale of colours for values from 0 to 1: cividis (Nuñez et al. 2018, doi:10.1371/journal.pone.0199239).

It looks nearly the same to colour-blind readers, and its lightness grows with the value, so that it can be read in
black and white.
"""

CIVIDIS = ["00224e", "123570", "3b496c", "575d6d", "707173", "8a8678", "a59c74", "c3b369", "e1cc55", "fee838"]
"""Ten steps from 0 to 1, as ``rrggbb``."""

FIRST_LIGHT = 5
"""The first of the steps on which black is easier to read than white."""


def palette_step(value: float) -> int:
    """The step of a value from 0 to 1: its first digit after the point, 0 to 9."""
    return min(max(int(value * 10), 0), 9)


def colour(value: float) -> str:
    """The colour of a value from 0 to 1, interpolated between the steps, as ``#rrggbb``."""
    place = min(max(value, 0.0), 1.0) * (len(CIVIDIS) - 1)
    low = min(int(place), len(CIVIDIS) - 2)
    ends = [bytes.fromhex(CIVIDIS[low]), bytes.fromhex(CIVIDIS[low + 1])]
    parts = (round(left + (place - low) * (right - left)) for left, right in zip(*ends, strict=True))
    return "#" + bytes(parts).hex()
