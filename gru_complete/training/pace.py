"""How far each step brings a training, so that its minutes are kept whatever else the machine does.

The learning rate depends on *progress*, which rises from 0 to 1. With a number of steps it is a function of the step,
and everything can be repeated bit for bit. With minutes the clock decides: each step takes as large a share of the
progress that is left as it takes of the time that is left. So the rate falls without a jump whether the machine becomes
faster or slower, and has fallen to zero when the time is over.

The time that is left is for steps and evaluations. What follows the last step was estimated before the first, for a
quiet machine; it is expected to take as many times longer as the steps do. More than a quarter of the minutes it does
not get: then less is measured.
"""

import math
import statistics
import time
from collections import deque
from typing import NamedTuple, Protocol

import torch

from gru_complete.config import TrainingConfig
from gru_complete.training.checkpoint import LoopState
from gru_complete.training.plan import Plan
from gru_complete.training.threads import ThreadTuner

RECENT_SECONDS, RECENT_STEPS = 5.0, 11  # the steps of so many seconds, but at least so many, say the present speed
LATELY_SECONDS = 20.0  # of the average by which the time for what follows the steps is judged
LONGEST_STEP = 10.0  # a step that takes this many times longer, and more than
LONGEST_SECONDS = 2.0  # this, was suspended, or the machine slept; neither counts
MAX_CLOSING_SHARE = 0.25  # of the minutes, kept for what follows the last step
MIN_SHARE = 0.1  # of the usual work after the last step, however late it is
MAX_EVALUATION_SHARE = 0.03  # of the time of all steps
SCORES_AT_END = 3  # of the tuning split: after the last step, and to compare the last weights with the best


class TimeLimit(NamedTuple):
    """What a training with minutes expects.

    Attributes:
        closing_seconds: what follows the last step takes, if nothing else runs.
        max_reserve: seconds that it gets at most.
        step_seconds: one step, when the plan was made.
        quiet_step_seconds: one step, if nothing else runs.
        max_steps: after these nothing more is learnt.
    """

    closing_seconds: float
    max_reserve: float
    step_seconds: float
    quiet_step_seconds: float
    max_steps: int


class Allowance(NamedTuple):
    """The time for what follows the last step.

    Attributes:
        deadline: the ``time.monotonic()`` at which the command is to end.
        share: of the usual work that can be done until then, as far as is known, 0 to 1.
        slowdown: how many times slower the machine is than if nothing else ran.
    """

    deadline: float = math.inf
    share: float = 1.0
    slowdown: float = 1.0

    def suffices_for(self, seconds: float) -> bool:
        """Whether there is time for work that takes so long if nothing else runs."""
        return time.monotonic() + seconds * self.slowdown <= self.deadline

    def part_of(self, amount: int) -> int:
        """As much of some usual amount as there is time for, at least a tenth."""
        return max(1, int(amount * max(MIN_SHARE, self.share)))


NO_LIMIT = Allowance()


class Pace(Protocol):
    """Decides how far each step goes, and when the tuning split is scored."""

    def next_progress(self, loop: LoopState) -> float:
        """The progress after the next step; 1 makes it the last."""

    def seconds_counted(self, seconds: float) -> float:
        """The part of a step's seconds that counts, and takes note of its speed."""

    def note_evaluation(self, seconds: float) -> None:
        """Take note of how long an evaluation and its checkpoint took."""

    def is_evaluation_due(self, before: LoopState, loop: LoopState) -> bool:
        """Whether the tuning split is to be scored after a step that led from one state to another."""

    def estimated_steps(self, loop: LoopState) -> int:
        """The number of steps in all, as far as is known."""

    def allowance(self) -> Allowance:
        """The time for what follows the last step, which was just made."""


class StepPace:
    """The pace of a training with a number of steps.

    Args:
        max_steps: the number.
        evaluate_every: steps between evaluations.
    """

    def __init__(self, max_steps: int, evaluate_every: int) -> None:
        self._max_steps = max_steps
        self._evaluate_every = evaluate_every

    def next_progress(self, loop: LoopState) -> float:
        """The share of all steps."""
        return (loop.step + 1) / self._max_steps

    def seconds_counted(self, seconds: float) -> float:
        """All of them."""
        return seconds

    def note_evaluation(self, seconds: float) -> None:
        """Evaluations may take as long as they do."""

    def is_evaluation_due(self, before: LoopState, loop: LoopState) -> bool:
        """After every so many steps, and after the last."""
        return loop.step % self._evaluate_every == 0 or loop.is_complete

    def estimated_steps(self, loop: LoopState) -> int:
        """The number that was asked for."""
        return self._max_steps

    def allowance(self) -> Allowance:
        """As much time as is needed."""
        return NO_LIMIT


class ClockPace:
    """The pace of a training with minutes, in one session.

    Args:
        limit: the time.
        evaluations: how many evaluations there are, unless they take too long.
        deadline: the ``time.monotonic()`` at which the command is to end, unless it is suspended.
        tuner: chooses the number of threads by the speed of the steps.
    """

    def __init__(self, limit: TimeLimit, evaluations: int, deadline: float, tuner: ThreadTuner | None = None) -> None:
        self.limit = limit
        self.deadline = deadline
        self._tuner = tuner
        self._evaluations = evaluations
        self._recent: deque[float] = deque()
        self._step_seconds = self._lately = limit.step_seconds
        self._last_evaluation = 0.0
        self._evaluation_seconds = 0.0

    @property
    def step_seconds(self) -> float:
        """What a step takes at present: the mean of the last ones."""
        return self._step_seconds

    @property
    def slowdown(self) -> float:
        """How many times slower than if nothing else ran the machine is, now or lately, whichever is slower."""
        return max(self._step_seconds, self._lately) / self.limit.quiet_step_seconds

    def seconds_left(self) -> float:
        """What is left for steps and for evaluations on the way."""
        reserve = min(self.limit.closing_seconds * self.slowdown, self.limit.max_reserve)
        return self.deadline - reserve - SCORES_AT_END * self._last_evaluation - time.monotonic()

    def steps_left(self, loop: LoopState) -> float:
        """The steps that fit the time that is left, at least 1."""
        by_clock = self.seconds_left() / self.step_seconds
        return max(1.0, min(by_clock, self.limit.max_steps - loop.step))

    def next_progress(self, loop: LoopState) -> float:
        """A share of what is left; all of it if no two steps fit any more."""
        steps_left = self.steps_left(loop)
        return 1.0 if steps_left < 2.0 else loop.progress + (1.0 - loop.progress) / steps_left

    def seconds_counted(self, seconds: float) -> float:
        """The time of a step that was suspended does not count: the deadline moves."""
        counted = min(seconds, max(LONGEST_SECONDS, LONGEST_STEP * self.step_seconds))
        self.deadline += seconds - counted
        if self._tuner is not None:
            self._tuner.note_step(counted)
        self._recent.append(counted)
        while len(self._recent) > RECENT_STEPS and sum(self._recent) - self._recent[0] > RECENT_SECONDS:
            self._recent.popleft()
        self._step_seconds = statistics.mean(self._recent)
        self._lately += (self._step_seconds - self._lately) * min(1.0, counted / LATELY_SECONDS)
        return counted

    def note_evaluation(self, seconds: float) -> None:
        """Later evaluations are made if they take no more than their share of the time."""
        self._last_evaluation = seconds
        self._evaluation_seconds += seconds

    def is_evaluation_due(self, before: LoopState, loop: LoopState) -> bool:
        """At even steps of progress, and at the end."""
        if loop.is_complete:
            return True
        is_reached = int(before.progress * self._evaluations) < int(loop.progress * self._evaluations)
        seconds = self._evaluation_seconds + self._last_evaluation
        return is_reached and seconds <= MAX_EVALUATION_SHARE * loop.step_seconds

    def estimated_steps(self, loop: LoopState) -> int:
        """The steps made, and those that fit the time that is left."""
        return loop.step if loop.is_complete else loop.step + round(self.steps_left(loop))

    def allowance(self) -> Allowance:
        """What the minutes leave."""
        expected = self.limit.closing_seconds * self.slowdown
        share = max(0.0, self.deadline - time.monotonic()) / expected if expected else 1.0
        return Allowance(self.deadline, min(1.0, share), self.slowdown)


def max_reserve(training: TrainingConfig) -> float:
    """Seconds that are kept at most for what follows the last step."""
    return MAX_CLOSING_SHARE * 60 * training.minutes


def usual_reserve(training: TrainingConfig, closing_seconds: float) -> float:
    """Seconds that are kept for what follows the last step, unless the machine becomes slower.

    Args:
        training: says how many minutes there are.
        closing_seconds: what it takes if nothing else runs.
    """
    return min(closing_seconds, max_reserve(training))


def make_pace(plan: Plan, *, loop: LoopState, max_steps: int, max_threads: int, started: float) -> Pace:
    """The pace of one session.

    Args:
        plan: says whether there is a number of steps, or of minutes.
        loop: where the session starts.
        max_steps: after these nothing more is learnt.
        max_threads: the most CPU threads to try, unless the user has fixed their number.
        started: the ``time.monotonic()`` from which this session's time counts.
    """
    if plan.budget_seconds is None:
        return StepPace(plan.max_steps, plan.evaluate_every)
    step_seconds = plan.step_seconds or plan.budget_seconds / plan.max_steps  # plans of older versions lack it
    training = plan.config.training
    reserve = usual_reserve(training, plan.closing_seconds)
    quiet_step_seconds = plan.quiet_step_seconds or step_seconds
    limit = TimeLimit(plan.closing_seconds, max_reserve(training), step_seconds, quiet_step_seconds, max_steps)
    is_fixed = plan.requested.training.threads is not None or max_threads == 1
    tuner = None if is_fixed else ThreadTuner([1, max_threads], torch.set_num_threads, step_seconds)
    return ClockPace(limit, training.evaluations, started + plan.budget_seconds + reserve - loop.step_seconds, tuner)
