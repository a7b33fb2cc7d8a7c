"""Before anything was trained, commands use the model that comes with the program."""

import json
import shutil

import pytest

from gru_complete.cli.console import Console
from gru_complete.model import home
from gru_complete.model.directory import load_model


@pytest.fixture
def on_a_terminal(monkeypatch):
    monkeypatch.setattr(Console, "is_animated", True)


@pytest.mark.parametrize(
    "command",
    [
        ("complete", "The dog"),
        ("complete", "The d", "--words", "3"),
        ("inspect", "The dog saw"),
        ("eval", "CORPUS"),
        ("check", "CORPUS"),
        ("models", "show"),
    ],
    ids=lambda command: " ".join(command[::2]),
)
def test_commands_work_without_a_model_of_ones_own(run, built_in, corpus_path, command):
    words = [str(corpus_path) if word == "CORPUS" else word for word in command]
    code, out, err = run(*words)
    assert code in (0, 1)  # 1: found something
    assert out
    assert "built-in" not in err  # which a script need not be told
    own = run(*words, "-m", built_in) if command[0] != "models" else run(*words, built_in)
    assert own[0] == code
    assert command[0] == "eval" or own[1] == out  # which says how fast it was


@pytest.mark.parametrize("command", [("eval",), ("complete", "The dog", "--novel", "4"), ("eval", "--secrets")])
def test_what_needs_its_text_says_that_there_is_none(run, built_in, command):
    code, _, err = run(*command)
    assert code in (2, 4)
    assert len([line for line in err.splitlines() if line.startswith("error: ")]) == 1
    print(err)


def test_a_terminal_is_told_which_model_that_is(run, built_in, on_a_terminal):
    _, _, err = run("complete", "The dog")
    assert "'english'" in err
    assert "gru-complete train YOUR-TEXT" in err
    assert "built-in" not in run("complete", "The dog", "-m", "english")[2]  # asked for by name


def test_a_model_of_ones_own_goes_first_also_by_that_name(run, built_in, trained_model, tmp_path, on_a_terminal):
    models = tmp_path / "home" / "models"
    models.mkdir(parents=True)
    shutil.copytree(trained_model, models / "english")
    assert home.find_model("english") == models / "english"
    home.remember_last(models / "english")
    assert home.find_model(None) == models / "english"
    assert "built-in" not in run("complete", "The dog")[2]
    names = [json.loads(line)["name"] for line in run("models", "list", "--json")[1].splitlines()]
    assert names == ["english"]


def test_the_list_has_it(run, built_in):
    lines = run("models", "list")[1].decode().splitlines()
    assert any("english" in line and "built in" in line for line in lines)
    (record,) = [json.loads(line) for line in run("models", "list", "--json")[1].splitlines()]
    assert (record["name"], record["built_in"], record["default"]) == ("english", True, True)


def test_it_cannot_be_removed(run, built_in):
    code, _, err = run("models", "remove", "english")
    assert code == 4
    assert "no model named 'english'" in err
    assert load_model(built_in)


def test_train_says_what_it_starts_from(run, trained_model, corpus_path):
    code, _, err = run("train", corpus_path, "-m", "new", "--base", trained_model, "--steps", "3", "--explain")
    assert code == 0
    assert f"base: {trained_model}; --base none starts from nothing" in err
    assert f"base: {trained_model}, as you set it" in err
