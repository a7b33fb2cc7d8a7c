"""How a measure that takes long reports its progress."""

from collections.abc import Callable

Progress = Callable[[int], object]
"""Called again and again with the amount of work done since the last call, in a unit that the measure chooses."""
