"""Models changed at random, with checksums that agree, work or are refused. benchmarks/attacks.py tries thousands."""

import random
import shutil

import pytest

from gru_complete.errors import ModelError
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.options import CompletionOptions
from tests import mutations
from tests.model.models import save_with_base

CASES = 25


@pytest.fixture(scope="module")
def models(trained_model, tmp_path_factory):
    """A model, and one whose training started from it, with weights in eight bits."""
    place = tmp_path_factory.mktemp("models")
    shutil.copytree(trained_model, place / "model")
    save_with_base(place / "from base", trained_model)
    return place


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of weights of 1e38
@pytest.mark.parametrize("name", ["model", "from base"])
@pytest.mark.parametrize("kind", mutations.MODEL)
def test_a_strangers_model_works_or_is_refused(models, tmp_path, name, kind):
    path = tmp_path / "copy"
    shutil.copytree(models / name, path)
    original = {file.name: file.read_bytes() for file in path.iterdir()}
    num_refused = 0
    for seed in range(CASES):
        files = dict(original)
        mutations.MODEL[kind](files, random.Random(seed))
        for file, data in files.items():
            (path / file).write_bytes(data)
        try:
            Completer.load(path).complete(b"The c", CompletionOptions(max_tokens=4))
        except ModelError:
            num_refused += 1
    assert num_refused
