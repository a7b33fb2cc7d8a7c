import shlex
from pathlib import Path

import pytest

from gru_complete.config import load_config
from gru_complete.errors import (
    UsageError,
)
from gru_complete.model.home import resolve_model_path
from gru_complete.model.naming import models_home
from gru_complete.training.refusals import refuse_existing_model
from tests.training.runs import train, weights_sha256


def test_a_finished_model_is_not_overwritten(request_for, tmp_path, tiny_overrides):
    train(request_for())
    before = weights_sha256(tmp_path / "model")
    with pytest.raises(UsageError, match="exists") as caught:
        train(request_for())
    assert "--replace" in caught.value.hint
    train(request_for(replace=True, config=load_config(None, [*tiny_overrides, "training.seed=5"])))
    assert weights_sha256(tmp_path / "model") != before


@pytest.mark.parametrize("name", ["novel", "my novel", "novel (2)", "v1.2", "日記"])
def test_a_text_that_has_a_model_gets_the_command_that_adds_what_is_new(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / name, Path(name), models_home() / name):
        refuse_existing_model(path)
        path.mkdir(parents=True, exist_ok=True)
        with pytest.raises(UsageError, match="already exists") as caught:
            refuse_existing_model(path)
        command = shlex.split(caught.value.hint.partition("what is new: ")[2].partition("; or")[0])
        assert command[:4] == ["gru-complete", "train", "NEW-TEXT", "--base"]
        assert (command[5], command[7]) == ("-m", "--replace")
        for model in (command[4], command[6]):
            assert resolve_model_path(model).absolute() == path.absolute()
        path.rmdir()


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
