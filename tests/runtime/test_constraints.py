import numpy as np

from gru_complete.runtime.constraints import Constraints

SCORES = np.log(np.array([1, 2, 4, 1], np.float32) / 8)
FREE = np.zeros(4, np.float32)
IMPOSSIBLE = -np.inf


def test_without_constraints_the_scores_are_unchanged():
    assert Constraints(FREE).apply(SCORES).tolist() == SCORES.tolist()


def test_masked_blocked_and_forbidden_tokens_are_impossible():
    mask = np.array([IMPOSSIBLE, 0, 0, 0], np.float32)
    assert Constraints(mask).apply(SCORES).tolist() == [IMPOSSIBLE, *SCORES[1:].tolist()]
    for constraints in (Constraints(FREE, blocked=[1, 3]), Constraints(FREE, forbidden=[1, 3])):
        assert constraints.apply(SCORES).tolist() == [SCORES[0], IMPOSSIBLE, SCORES[2], IMPOSSIBLE]


def test_blocked_tokens_may_come_if_there_are_no_others():
    mask = np.array([0, 0, IMPOSSIBLE, IMPOSSIBLE], np.float32)
    assert Constraints(mask, blocked=[0, 1]).apply(SCORES).tolist() == [*SCORES[:2].tolist(), IMPOSSIBLE, IMPOSSIBLE]


def test_forbidden_tokens_may_never_come():
    assert Constraints(FREE, forbidden=range(4)).apply(SCORES) is None
    mask = np.array([0, 0, IMPOSSIBLE, IMPOSSIBLE], np.float32)
    assert Constraints(mask, forbidden=[0, 1]).apply(SCORES) is None


def test_the_given_scores_are_not_changed():
    before = SCORES.copy()
    Constraints(FREE, blocked=[0], forbidden=[1]).apply(SCORES)
    assert SCORES.tolist() == before.tolist()
