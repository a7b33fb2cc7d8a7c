import dataclasses
import random

import pytest

from gru_complete.training import pace
from gru_complete.training.checkpoint import LoopState
from gru_complete.training.pace import NO_LIMIT, ClockPace, StepPace, TimeLimit

LIMIT = TimeLimit(closing_seconds=5.0, max_reserve=30.0, step_seconds=0.2, quiet_step_seconds=0.2, max_steps=1_000_000)


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(pace, "time", clock)
    return clock


def run(clock, step_seconds, *, seconds=120.0, limit=LIMIT, evaluation=0.3, loop=LoopState()):  # noqa: B008
    """Train until the pace says that it is enough; returns the states, with the time at which each was reached.

    ``step_seconds`` is a function of the seconds since the start.
    """
    start = clock.now
    clock_pace = ClockPace(limit, 20, start + seconds)
    states = []
    while not loop.is_complete:
        before = loop
        progress = clock_pace.next_progress(loop)
        took = step_seconds(clock.now - start)
        clock.now += took
        loop = loop.after_update(1.0, progress)
        loop = dataclasses.replace(loop, step_seconds=loop.step_seconds + clock_pace.seconds_counted(took))
        if clock_pace.is_evaluation_due(before, loop):
            clock.now += evaluation
            clock_pace.note_evaluation(evaluation)
        states.append((clock.now - start, loop))
    return clock_pace, states


NOISE = [0.9, 1.0, 1.0, 1.1, 1.2, 1.8]
MEAN_NOISE = sum(NOISE) / len(NOISE)


def noisy(step_seconds, seed):
    draw = random.Random(seed)
    return lambda now: step_seconds(now) * draw.choice(NOISE)


LOADS = {
    "quiet": lambda now: 0.2,
    "five times slower than probed": lambda now: 1.0,
    "four times faster than probed": lambda now: 0.05,
    "a load comes": lambda now: 0.2 if now < 40 else 0.8,
    "a load goes": lambda now: 0.8 if now < 40 else 0.2,
    "on and off": lambda now: 0.2 if now % 4 < 2 else 0.6,
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("load", LOADS)
def test_steps_end_when_what_follows_them_still_fits(clock, load, seed):
    _, states = run(clock, noisy(LOADS[load], seed))
    seconds, _ = states[-1]
    last_step = seconds - states[-2][0]  # which could not be known before it was made
    lately = [LOADS[load](seconds - ago) for ago in range(10)]
    needed = LIMIT.closing_seconds * MEAN_NOISE * sum(lately) / len(lately) / LIMIT.quiet_step_seconds
    assert 0.7 * needed - last_step <= 120.0 - seconds <= 1.5 * needed + last_step


@pytest.mark.parametrize("seed", range(5))
def test_a_load_that_comes_when_the_end_is_near_is_noticed_within_seconds(clock, seed):
    _, states = run(clock, noisy(lambda now: 0.2 if now < 100 else 0.8, seed))
    assert states[-1][0] < 110


@pytest.mark.parametrize("load", LOADS)
def test_progress_never_jumps_and_ends_at_one(clock, load):
    _, states = run(clock, LOADS[load], evaluation=0.0)
    progress = [0.0, *(state.progress for _, state in states)]
    differences = [after - before for before, after in zip(progress, progress[1:], strict=False)]
    assert min(differences) > 0
    assert progress[-1] == 1.0
    assert max(differences[:-10]) < 0.02  # a second in two minutes is 0.01


def test_with_a_steady_speed_progress_is_the_share_of_the_time(clock):
    _, states = run(clock, lambda now: 0.2, evaluation=0.0)
    for seconds, state in states:
        assert state.progress == pytest.approx(seconds / 115.0, abs=0.005)


def test_time_in_which_the_process_is_suspended_does_not_count(clock):
    stopped = iter([True])
    clock_pace, states = run(clock, lambda now: 30.0 if now > 40 and next(stopped, False) else 0.2)
    seconds, state = states[-1]
    assert seconds == pytest.approx(120.0 + 28.0 - LIMIT.closing_seconds, abs=2.0)
    assert state.step_seconds < 120.0


def test_a_text_that_can_teach_no_more_ends_before_its_minutes(clock):
    _, states = run(clock, lambda now: 0.2, limit=LIMIT._replace(max_steps=50))
    assert states[-1][1].step == 50
    assert states[-1][0] < 20


def test_evaluations_that_take_long_become_few(clock):
    _, states = run(clock, lambda now: 0.2, evaluation=4.0)
    assert sum(after[0] - before[0] > 4 for before, after in zip(states, states[1:], strict=False)) <= 5


def test_a_session_goes_on_from_the_progress_of_the_one_before(clock):
    _, states = run(clock, lambda now: 0.2, seconds=60.0, loop=LoopState(step=300, progress=0.5, step_seconds=60.0))
    progress = [state.progress for _, state in states]
    assert 0.5 < progress[0] < 0.51
    assert progress == sorted(progress)
    assert progress[-1] == 1.0


def test_a_number_of_steps_makes_progress_step_by_step():
    step_pace = StepPace(10, evaluate_every=4)
    loop = LoopState(max_steps=10)
    due = []
    for step in range(1, 11):
        before, loop = loop, loop.after_update(1.0, step_pace.next_progress(loop))
        assert (loop.progress, loop.is_complete) == (step / 10, step == 10)
        due.append(step_pace.is_evaluation_due(before, loop))
    assert [step for step, is_due in enumerate(due, start=1) if is_due] == [4, 8, 10]
    assert step_pace.allowance() == NO_LIMIT


def test_what_follows_the_last_step_never_gets_more_than_its_share(clock):
    limit = LIMIT._replace(closing_seconds=50.0)
    clock_pace, states = run(clock, lambda now: 0.8, limit=limit, evaluation=0.0)  # it would take 200 s
    assert 120.0 - states[-1][0] == pytest.approx(limit.max_reserve, abs=1.0)
    assert clock_pace.allowance().share == pytest.approx(30 / 200, rel=0.05)


def test_a_plan_that_was_made_beside_another_load_knows_what_follows_takes_longer(clock):
    busy = LIMIT._replace(step_seconds=0.6)
    assert ClockPace(busy, 20, clock.now + 60).seconds_left() == pytest.approx(60 - 3 * LIMIT.closing_seconds)
    assert ClockPace(LIMIT, 20, clock.now + 60).seconds_left() == pytest.approx(60 - LIMIT.closing_seconds)


def test_what_follows_the_last_step_is_cut_short_if_it_would_be_late(clock):
    late = ClockPace(LIMIT, 20, clock.now + 1.0).allowance()
    assert (late.share, late.part_of(1000)) == (0.2, 200)
    assert late.suffices_for(0.9)
    assert not late.suffices_for(1.1)
    clock.now += 5
    assert ClockPace(LIMIT, 20, clock.now - 5).allowance().part_of(1000) == 100
    assert not late.suffices_for(0.0)
    in_time = ClockPace(LIMIT, 20, clock.now + 50).allowance()
    assert in_time.part_of(1000) == 1000
