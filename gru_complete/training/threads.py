"""The number of threads that a training with minutes computes with: chosen anew when the speed changes much.

A machine that is busy with something else may be faster with one thread than with one per core, and may be quiet a
minute later.
"""

import statistics
from collections import deque
from collections.abc import Callable, Sequence

CHANGE = 1.4  # times slower or faster than when the number was chosen
RECENT_STEPS = 12
STEPS_IN_TURN = 3  # of each number; the first step after a change is not counted
TURNS = 3
PAUSE_SECONDS = 10.0  # after a choice


class ThreadTuner:
    """Watches the steps, and tries all numbers of threads in turns when they have become slower or faster.

    Args:
        choices: numbers of threads.
        set_threads: sets the number from the next step on.
        step_seconds: what a step takes with the number that is set now.
    """

    def __init__(self, choices: Sequence[int], set_threads: Callable[[int], None], step_seconds: float) -> None:
        self._choices = choices
        self._set_threads = set_threads
        self._reference = step_seconds
        self._recent: deque[float] = deque(maxlen=RECENT_STEPS)
        self._since_choice = 0.0
        self._turns: list[int] = []  # what is still to be tried, the last first
        self._steps_in_turn = 0
        self._tried: dict[int, list[float]] = {}

    def note_step(self, seconds: float) -> None:
        """Take note of a step's seconds; the next one may be made with another number of threads."""
        if self._turns:
            self._continue_trial(seconds)
            return
        self._recent.append(seconds)
        self._since_choice += seconds
        if len(self._recent) < RECENT_STEPS or self._since_choice < PAUSE_SECONDS:
            return
        ratio = statistics.mean(self._recent) / self._reference
        if not 1 / CHANGE <= ratio <= CHANGE:
            self._turns, self._tried = list(self._choices) * TURNS, {threads: [] for threads in self._choices}
            self._begin_turn()

    def _begin_turn(self) -> None:
        self._steps_in_turn = 0
        self._set_threads(self._turns[-1])

    def _continue_trial(self, seconds: float) -> None:
        """Count a step of the trial, and end it after the last turn."""
        if self._steps_in_turn:
            self._tried[self._turns[-1]].append(seconds)
        self._steps_in_turn += 1
        if self._steps_in_turn <= STEPS_IN_TURN:
            return
        self._turns.pop()
        if self._turns:
            self._begin_turn()
            return
        means = {threads: statistics.mean(tried) for threads, tried in self._tried.items()}
        best = min(self._choices, key=lambda threads: means[threads])
        self._set_threads(best)
        self._reference, self._since_choice = means[best], 0.0
        self._recent.clear()
