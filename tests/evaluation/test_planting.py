"""Canaries are made and planted, and the training of the model is repeated with them."""

import numpy as np
import pytest

from gru_complete.api import train
from gru_complete.errors import ModelError, UsageError
from gru_complete.evaluation.canaries import Canary
from gru_complete.evaluation.planting import (
    CANARIES_EACH,
    NUM_CANARIES,
    TIMES,
    OriginalTraining,
    find_training,
    make_canaries,
    plant_canaries,
    train_with_canaries,
)
from gru_complete.model.directory import load_model
from gru_complete.model.manifest import Base


@pytest.fixture(scope="module")
def model(trained_model):
    return load_model(trained_model)


def test_canaries_are_drawn_for_each_number_of_copies_and_have_no_syllable_in_common():
    made = make_canaries([b"The cat ate the bird.\n"], seed=3)
    assert [canary.times for canary in made] == [times for times in TIMES for _ in range(CANARIES_EACH)]
    syllables = [canary.name.lower()[start : start + 2] for canary in made for start in (0, 2, 4)]
    assert len(set(syllables)) == len(syllables) == 3 * NUM_CANARIES
    assert len({canary.number for canary in made}) == NUM_CANARIES
    assert all(len(canary.number) == 5 and canary.number.isdigit() for canary in made)
    assert made == make_canaries([b"another text\n"], seed=3) != make_canaries([b""], seed=4)


def test_no_canary_has_a_name_that_is_in_the_text():
    taken = make_canaries([], seed=3)[5].name
    assert taken not in {canary.name for canary in make_canaries([b"a", f"He is {taken}s friend".encode()], seed=3)}


DOCUMENTS = [
    b"".join(b"line %d of the first\n" % number for number in range(200)),
    b"no line end at all",
    b"\n\n",
    b"".join(b"line %d of the last\n" % number for number in range(300)) + b"unfinished",
]


def test_each_canary_is_planted_the_right_number_of_times_and_nothing_else_changes():
    made = make_canaries(DOCUMENTS, seed=1)
    planted = plant_canaries(DOCUMENTS, made, seed=2)
    assert len(planted) == len(DOCUMENTS)
    together = b"".join(planted)
    lines = together.splitlines(keepends=True)
    for canary in made:
        assert lines.count(canary.line) == together.count(canary.name.encode()) == canary.times
    own = {canary.line for canary in made}
    for before, after in zip(DOCUMENTS, planted, strict=True):
        assert b"".join(line for line in after.splitlines(keepends=True) if line not in own) == before


def test_canaries_are_evenly_spread():
    text = b"".join(b"%05d\n" % number for number in range(10_000))
    canary = Canary("Bobibu", "12345", 16)
    (planted,) = plant_canaries([text], [canary], seed=0)
    lines = planted.splitlines(keepends=True)
    places = [index for index, line in enumerate(lines) if line == canary.line]
    assert np.ptp(np.diff(places)) <= 2
    assert abs(np.diff(places).mean() - 10_000 / 16) < 2


def test_a_canary_planted_zero_times_leaves_the_text_as_it_was():
    assert plant_canaries(DOCUMENTS, [Canary("Bobibu", "12345", 0)], seed=0) == DOCUMENTS


def test_the_training_is_that_of_the_model_but_for_the_canaries(model, tmp_path):
    known = find_training(model, device="cpu")
    assert known.config.training.steps == model.manifest.training["steps"]
    *_, planted = train_with_canaries(known, tmp_path)
    other = planted.model
    assert other.manifest.arch == model.manifest.arch
    assert other.manifest.training["steps"] == model.manifest.training["steps"]
    assert other.tokenizer.sha256 == model.tokenizer.sha256
    assert other.fingerprint != model.fingerprint
    again = find_training(other, device="cpu")
    assert list(again.tuning) == list(known.tuning)
    own = {canary.line for canary in planted.canaries}
    lines = decode_training_text(again).splitlines(keepends=True)
    assert sum(map(own.__contains__, lines)) == CANARIES_EACH * sum(TIMES)
    assert b"".join(line for line in lines if line not in own) == decode_training_text(known)


def test_the_repeated_training_starts_from_the_same_base(trained_model, corpus_path, tmp_path):
    config = {"training.steps": 3, "training.batch_size": 4, "training.seq_len": 16}
    known = load_model(train(corpus_path, model=tmp_path / "new", base=trained_model, settings=config).path)
    directory = tmp_path / "canaries"
    directory.mkdir()
    *_, planted = train_with_canaries(find_training(known, device="cpu"), directory)
    assert planted.model.manifest.base == known.manifest.base
    other = known._replace(manifest=known.manifest._replace(base=Base("tiny", "0" * 64)))
    with pytest.raises(UsageError, match="has been replaced") as caught:
        find_training(other, device="cpu")
    assert "-m" in caught.value.hint


@pytest.mark.parametrize("steps", ["abc", None, -5, 0, 2.5, True])
def test_a_model_without_a_valid_number_of_steps_is_refused(model, steps):
    facts = {**model.manifest.training, "steps": steps}
    other = model._replace(manifest=model.manifest._replace(training=facts))
    with pytest.raises(ModelError, match="how many steps"):
        find_training(other, device="cpu")


def decode_training_text(known: OriginalTraining):
    return known.tokenizer.decode(known.training.tolist())
