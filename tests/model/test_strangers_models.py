"""Models changed at random, with checksums that agree, work or are refused. benchmarks/attacks.py tries thousands."""

import random
import shutil

import pytest

from gru_complete.errors import ModelError
from gru_complete.model.delta import pack_delta
from gru_complete.model.directory import load_model, save_delta
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.options import CompletionOptions
from gru_complete.storage import atomic
from tests import mutations

CASES = 25


@pytest.fixture(scope="module")
def models(trained_model, tmp_path_factory):
    """A model, and one that is adapted from it."""
    place = tmp_path_factory.mktemp("models")
    shutil.copytree(trained_model, place / "model")
    base = load_model(place / "model")
    delta = pack_delta(base.weights, {name: array + 0.01 for name, array in base.weights.items()})
    with atomic.replace_directory(place / "adapted") as directory:
        save_delta(directory, base=base, delta=delta, metrics={}, training={})
    return place


KINDS = [("model", kind) for kind in mutations.WHOLE_MODEL] + [("adapted", kind) for kind in mutations.ADAPTED_MODEL]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of weights of 1e38
@pytest.mark.parametrize(("name", "kind"), KINDS, ids=": ".join)
def test_a_strangers_model_works_or_is_refused(models, tmp_path, name, kind):
    shutil.copytree(models, tmp_path / "models")
    path = tmp_path / "models" / name
    original = {file.name: file.read_bytes() for file in path.iterdir()}
    attack = (mutations.WHOLE_MODEL if name == "model" else mutations.ADAPTED_MODEL)[kind]
    num_refused = 0
    for seed in range(CASES):
        files = dict(original)
        attack(files, random.Random(seed))
        for file, data in files.items():
            (path / file).write_bytes(data)
        try:
            Completer.load(path).complete(b"The c", CompletionOptions(max_tokens=4))
        except ModelError:
            num_refused += 1
    assert num_refused
