"""The overlay against its formula, from counts that are made anew for every token by going through the text."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_complete.ngrams import overlay as module
from gru_complete.ngrams.overlay import MAX_CONTEXT, Overlay

V = 6
TEXTS = st.lists(st.integers(0, V - 1), max_size=60)


def learnt(tokens):
    overlay = Overlay()
    for token in tokens:
        overlay.learn(token)
    return overlay


def some_distribution(seed=0, vocab_size=V):
    return np.random.default_rng(seed).dirichlet(np.ones(vocab_size)).astype(np.float32) * 0.99 + 0.01 / vocab_size


def adjusted(overlay, q, context=None, length=2, total=7.0):
    row = q.astype(np.float32)
    overlay.adjust(row, overlay.recent_tokens() if context is None else context, length, total)
    return row


def counts_after(tokens, context):
    """What followed a context in a text, each token only where it is new after all longer contexts."""
    counts = Counter()
    for place in range(len(context), len(tokens)):
        if tuple(tokens[place - len(context) : place]) != tuple(context):
            continue
        longest = min(MAX_CONTEXT, place)
        grams = [tuple(tokens[place - size : place + 1]) for size in range(len(context) + 1, longest + 1)]
        if all(gram not in grams_within(tokens[:place]) for gram in grams):
            counts[tokens[place]] += 1
    return counts


def grams_within(tokens):
    return {
        tuple(tokens[end - size : end]) for size in range(2, MAX_CONTEXT + 2) for end in range(size, len(tokens) + 1)
    }


def reference(tokens, q0, context, length, total):
    """The formulas of the module, in float64."""
    q0 = np.asarray(q0, np.float64)
    q, longest = q0, 0
    for size in range(1, min(MAX_CONTEXT, len(context)) + 1):
        found = counts_after(tokens, context[-size:])
        if not found:
            break
        counts, longest = found, size
        c = np.array([counts[w] for w in range(len(q0))], np.float64)
        strength = 6.7 if size == 1 else 0.0
        q = (np.maximum(c - 0.5, 0) + (0.5 * (c > 0).sum() + strength) * q) / (c.sum() + strength)
    if not longest:
        return q0
    seen, different = sum(counts.values()), len(counts)
    score = [0.115, 1.304, 0.155, -0.619, -1.080][longest - 1]
    score += [0.735, 0.022, -0.069, -0.102, 0.347][longest - 1] * math.log(seen + 1)
    score += 2.197 * math.log(different / seen + 1e-3) + 0.078 * math.log(len(tokens) + 1)
    score += [-0.124, -1.936, -0.301, 0.658, 1.600][min(length, 4)] + 0.236 * math.log(total + 1)
    score -= 0.421 if different == 1 else 0
    model_share = 1 / (1 + math.exp(-score))
    return model_share * q0 + (1 - model_share) * q


@settings(max_examples=100, deadline=None)
@given(tokens=TEXTS, context=TEXTS, length=st.integers(0, 7), total=st.floats(0, 1e7))
def test_the_adjusted_distribution_is_the_formula(tokens, context, length, total):
    q = some_distribution()
    for place in (context, tokens):
        row = adjusted(learnt(tokens), q, place, length, total)
        np.testing.assert_allclose(row, reference(tokens, q, place, length, total), rtol=1e-4, atol=1e-6)
        assert row.sum() == pytest.approx(1, abs=1e-5)
        assert row.min() > 0


def test_an_empty_overlay_changes_nothing():
    q = some_distribution()
    for tokens in ([], [3]):  # one token has no follower yet
        np.testing.assert_array_equal(adjusted(learnt(tokens), q, (1, 2, 3)), q)


def test_what_never_followed_gets_no_likelier():
    q = some_distribution()
    row = adjusted(learnt([1, 2, 3, 1, 2]), q)
    assert row[3] > q[3]
    assert (np.delete(row, 3) < np.delete(q, 3)).all()


def test_a_phrase_that_was_said_gets_likelier_each_time():
    q = np.full(100, 0.01, np.float32)
    chances, text = [], list(range(50, 60))
    for _ in range(4):
        text += [1, 2, 3]
        chances.append(adjusted(learnt(text), q)[4])
        text += [4, *range(60, 70)]
    assert chances[0] == pytest.approx(0.01)
    assert chances[0] < chances[1] < chances[2] < chances[3]


def test_following_a_text_does_not_teach_it():
    overlay, q = learnt([1, 2, 3, 1, 2]), some_distribution()
    before = adjusted(overlay, q)
    adjusted(overlay, q, (3, 4, 5))
    assert len(overlay) == 5
    np.testing.assert_array_equal(adjusted(overlay, q), before)


def test_only_the_last_tokens_of_a_context_matter():
    tokens, q = [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1], some_distribution()
    overlay = learnt(tokens)
    assert overlay.recent_tokens() == (2, 3, 4, 5, 1)[-MAX_CONTEXT:]
    np.testing.assert_array_equal(adjusted(overlay, q, tokens), adjusted(overlay, q))


@pytest.mark.parametrize("most", [10, 11])
def test_at_the_limit_the_older_half_is_forgotten(monkeypatch, most):
    monkeypatch.setattr(module, "MAX_TOKENS", most)
    tokens = np.random.default_rng(1).integers(0, 3, 3 * most).tolist()
    overlay, remembered = Overlay(), []
    for token in tokens:
        if len(remembered) == most:
            remembered = remembered[most // 2 :]
        remembered.append(token)
        overlay.learn(token)
        assert len(overlay) == len(remembered) <= most
    monkeypatch.setattr(module, "MAX_TOKENS", 1000)
    alone, q = learnt(remembered), some_distribution()
    for context in ([0], [1, 2], [2, 1, 0], tokens):
        np.testing.assert_array_equal(adjusted(overlay, q, context), adjusted(alone, q, context))


@pytest.mark.parametrize("num_followers", [module._MANY, module._MANY + 1, 80])
def test_many_followers_are_added_as_few_are(monkeypatch, num_followers):
    """Token 0 is followed by every other one, some of them twice."""
    text = [token for follower in range(1, num_followers + 1) for token in (0, follower)]
    overlay, q = learnt([*text, *text[: num_followers // 2], 0]), some_distribution(vocab_size=100)
    rows = []
    for limit in (0, module._MANY, 1000):
        monkeypatch.setattr(module, "_MANY", limit)
        rows.append(adjusted(overlay, q, (0,)))
    np.testing.assert_allclose(rows[0], rows[2], rtol=1e-5)
    np.testing.assert_allclose(rows[1], rows[2], rtol=1e-5)
    assert (rows[0][1 : num_followers + 1] != q[1 : num_followers + 1]).all()


CONTEXTS = [[token] for token in range(3)] + [[0, 1], [2, 1, 0], [1, 1, 2, 0], [0, 0, 1, 2, 1]]


def assert_same(overlay, other, contexts):
    q = some_distribution()
    assert len(overlay) == len(other)
    assert overlay.recent_tokens() == other.recent_tokens()
    assert overlay.tokens.tolist() == other.tokens.tolist()
    for context in contexts:
        np.testing.assert_array_equal(adjusted(overlay, q, context), adjusted(other, q, context))


@settings(max_examples=100, deadline=None)
@given(before=st.lists(st.integers(0, 2), max_size=60), after=st.lists(st.integers(0, 2), max_size=30))
def test_tokens_learnt_at_once_are_as_tokens_learnt_one_by_one(before, after):
    overlay = Overlay(np.array(before, np.uint16))
    assert_same(overlay, learnt(before), [*CONTEXTS, before])
    for token in after:
        overlay.learn(token)
    assert_same(overlay, learnt(before + after), [*CONTEXTS, before + after])


@pytest.mark.parametrize("limit", ["MAX_TOKENS", "_MAX_BESIDE_EARLIER", "_MAX_COPIED"])
def test_no_limit_changes_what_is_counted(monkeypatch, limit):
    before, after = np.random.default_rng(1).integers(0, 3, (2, 40))
    if limit == "MAX_TOKENS":
        monkeypatch.setattr(module, limit, 50)
    overlay, alone = Overlay(before), learnt(before.tolist())
    if limit != "MAX_TOKENS":
        monkeypatch.setattr(module, limit, 10)
    for token in after.tolist():
        overlay = overlay.fork()
        overlay.learn(token)
        alone.learn(token)
        assert_same(overlay, alone, CONTEXTS)


@pytest.mark.parametrize("at_once", [True, False])
def test_forks_go_their_own_ways(at_once):
    tokens = [0, 1, 2, 0, 1, 1, 0, 1]
    trunk = Overlay(np.array(tokens)) if at_once else learnt(tokens)
    branch = trunk.fork()
    for token in (2, 2, 0, 1):
        branch.learn(token)
    other = trunk.fork()
    other.learn(0)
    assert_same(trunk, learnt(tokens), CONTEXTS)
    assert_same(branch, learnt([*tokens, 2, 2, 0, 1]), CONTEXTS)
    assert_same(other, learnt([*tokens, 0]), CONTEXTS)
