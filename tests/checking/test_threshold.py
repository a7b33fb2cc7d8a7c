"""The threshold of `check`: measured on texts, and read from a manifest that anyone may have written."""

import math
import random

import numpy as np
import pytest

from gru_complete.checking.threshold import LEAST_THRESHOLD, measure_threshold, threshold_from_manifest
from gru_complete.checking.unusual_words import DEFAULT_THRESHOLD, Alternative, UnusualWord, WordChecker
from gru_complete.model.directory import load_model


def shuffled(num_words, seed):
    words = ["the", "a", "cat", "dog", "bird", "house", "river", "ate", "saw", "liked", "old", "red", "green", "small"]
    return " ".join(random.Random(seed).choices(words, k=num_words))


def test_the_threshold_is_five_times_what_one_word_in_fifty_reaches(trained_model, monkeypatch):
    odds = np.random.default_rng(0).pareto(1.0, size=500) + 0.001
    thresholds = []

    def findings(self, texts):
        for value in odds:
            thresholds.append(self.threshold)
            if value >= self.threshold:
                yield UnusualWord(1, 1, 0, "a", (Alternative("b", 1.0, value),))

    monkeypatch.setattr(WordChecker, "findings", findings)
    threshold = measure_threshold(load_model(trained_model), [shuffled(250, seed=1), shuffled(250, seed=2)])
    twice = np.sort([*odds, *odds])
    assert threshold == {"check_threshold": pytest.approx(5 * twice[-10], rel=1e-3)}
    assert thresholds[0] == 0.03
    assert np.all(np.diff(thresholds) >= 0)


def test_a_measured_threshold_is_read_back_from_the_manifest(trained_model):
    model = load_model(trained_model)
    metrics = measure_threshold(model, [shuffled(500, seed=1)])
    assert metrics["check_threshold"] > 0.15
    threshold = threshold_from_manifest(model.manifest._replace(metrics=metrics))
    assert threshold == max(metrics["check_threshold"], LEAST_THRESHOLD)


def test_a_model_that_finds_nothing_unusual_gets_the_least_threshold(trained_model, monkeypatch):
    monkeypatch.setattr(WordChecker, "findings", lambda self, texts: iter(()))
    assert measure_threshold(load_model(trained_model), [shuffled(1000, seed=1)]) == {"check_threshold": 0.15}


def test_no_threshold_is_measured_on_little_text(trained_model):
    assert measure_threshold(load_model(trained_model), ["The cat saw. " * 99]) == {}
    assert measure_threshold(load_model(trained_model), []) == {}


@pytest.mark.parametrize(
    ("value", "threshold"),
    [
        (7.5, 7.5),
        *((low, LEAST_THRESHOLD) for low in (1e-6, 0.2, 0.58, 0.999, LEAST_THRESHOLD)),
        *(
            (other, DEFAULT_THRESHOLD)
            for other in (None, "7.5", True, 0.0, -3.0, 1e-7, 1e13, math.inf, math.nan, [7.5])
        ),
    ],
)
def test_an_impossible_threshold_in_a_manifest_is_ignored(trained_model, value, threshold):
    manifest = load_model(trained_model).manifest
    assert threshold_from_manifest(manifest._replace(metrics={"check_threshold": value})) == threshold
    assert threshold_from_manifest(manifest._replace(metrics={})) == DEFAULT_THRESHOLD
