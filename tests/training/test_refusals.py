import pytest

from gru_complete.config import load_config
from gru_complete.errors import (
    UsageError,
)
from tests.training.runs import train, weights_sha256


def test_a_finished_model_is_not_overwritten(request_for, tmp_path, tiny_overrides):
    train(request_for())
    before = weights_sha256(tmp_path / "model")
    with pytest.raises(UsageError, match="exists") as caught:
        train(request_for())
    assert "--replace" in caught.value.hint
    train(request_for(replace=True, config=load_config(None, [*tiny_overrides, "training.seed=5"])))
    assert weights_sha256(tmp_path / "model") != before


def test_a_corpus_inside_the_run_directory_and_a_model_inside_the_corpus_are_refused(request_for, tmp_path):
    for source in (tmp_path / "model.run" / "corpus.txt", tmp_path):
        with pytest.raises(UsageError, match="lie inside each other"):
            train(request_for(sources=[str(source)]))


@pytest.mark.parametrize("name", ["model", "model.run"])
def test_a_directory_that_is_not_a_model_is_kept_even_with_replace(request_for, tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "precious.txt").write_text("x")
    with pytest.raises(UsageError, match="was not made by gru-complete"):
        train(request_for(replace=True))
    assert (tmp_path / name / "precious.txt").exists()
