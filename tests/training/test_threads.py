import pytest

from gru_complete.training.threads import PAUSE_SECONDS, ThreadTuner


class Machine:
    """A machine whose steps take as long as ``seconds`` says for the number of threads that is set."""

    def __init__(self, seconds, threads):
        self.seconds, self.threads, self.now = seconds, threads, 0.0
        self.history = [threads]

    def set_threads(self, threads):
        self.threads = threads

    def run(self, tuner, until):
        while self.now < until:
            step = self.seconds(self.threads, self.now)
            self.now += step
            tuner.note_step(step)
            if self.threads != self.history[-1]:
                self.history.append(self.threads)


QUIET, BUSY = {1: 0.2, 2: 0.11}, {1: 0.3, 2: 0.8}


@pytest.mark.parametrize(("before", "after", "start", "end"), [(QUIET, BUSY, 2, 1), (BUSY, QUIET, 1, 2)])
def test_a_change_of_the_speed_leads_to_the_number_that_is_faster_then(before, after, start, end):
    machine = Machine(lambda threads, now: (before if now < 40 else after)[threads], start)
    tuner = ThreadTuner([1, 2], machine.set_threads, before[start])
    machine.run(tuner, 40)
    assert machine.history == [start]
    machine.run(tuner, 70)
    assert machine.threads == end


@pytest.mark.parametrize("factor", [0.75, 1.0, 1.3])
def test_a_small_change_changes_nothing(factor):
    machine = Machine(lambda threads, now: QUIET[threads] * (1 if now < 20 else factor), 2)
    machine.run(ThreadTuner([1, 2], machine.set_threads, QUIET[2]), 100)
    assert machine.history == [2]


def test_trials_do_not_follow_each_other_without_a_pause():
    speeds = iter(range(10**9))
    machine = Machine(lambda threads, now: 0.05 * (1 + 9 * (next(speeds) // 40 % 2)), 1)
    trials = []
    tuner = ThreadTuner([1, 2], lambda threads: (machine.set_threads(threads), trials.append(machine.now)), 0.05)
    machine.run(tuner, 300)
    gaps = [after - before for before, after in zip(trials, trials[1:], strict=False)]
    assert sum(gap > PAUSE_SECONDS for gap in gaps) >= 3
    assert len(trials) <= 7 * (300 / PAUSE_SECONDS)
