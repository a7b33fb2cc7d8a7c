import json
import random

import pytest

from gru_complete.cli.text_argument import is_text

BEGINNINGS = ["-", "--", "---", "-n", "-f", "-i", "-0", "-x", "-=", "->", "--echo", "--lines", "--seed", "--bob", "—"]


def arguments(count):
    """Texts that begin with a dash, with white space somewhere: list items, signatures, front matter, dialogue."""
    random.seed(0)
    for _ in range(count):
        words = random.choices(["cmd:", "git", "=", "a=b", "é", "-m", "--", "x"], k=random.randint(1, 4))
        yield random.choice(BEGINNINGS) + random.choice([" ", "\n", "\t", "\u3000"]) + " ".join(words)


def test_a_text_with_white_space_is_no_option_wherever_it_stands(run, trained_model, monkeypatch):
    seen = []
    monkeypatch.setattr("gru_complete.cli.complete.text_sources", lambda prompt, *_, **__: seen.append(prompt) or [])
    monkeypatch.setattr("gru_complete.cli.complete.load_completer", lambda *_, **__: None)
    monkeypatch.setattr("gru_complete.cli.answers.answer", lambda *_, **__: True)
    for text in arguments(300):
        for given in (
            [text, "--seed", "3", "-m", trained_model],
            ["-m", trained_model, text],
            ["-m", trained_model, "--", text],
        ):
            assert run("complete", *given) == (0, b"", "")
            assert seen.pop() == text


def test_the_text_is_completed_and_inspected(run, trained_model):
    code, out, _ = run("complete", "- cmd: the cat ", "-m", trained_model, "--json")
    assert code == 0
    assert json.loads(out)["prompt"] == "- cmd: the cat "
    code, out, _ = run("inspect", "-- \nThe cat", "-m", trained_model, "--json")
    assert code == 0
    assert json.loads(out)["text"] == "-- \nThe cat"


@pytest.mark.parametrize("argument", ["--stop=a b", "--stop= ", "--stop==\n"])
def test_the_value_of_an_option_may_have_spaces(run, trained_model, argument):
    assert not is_text(argument, {"--stop"})
    assert run("complete", "The", "-m", trained_model, argument)[0] == 0
    assert run("complete", "The", "-m", trained_model, "--stop", "- a b")[0] == 0


@pytest.mark.parametrize("argument", ["-x", "--bob", "-cmd:", "--stop=a", "--=", "-"])
def test_without_white_space_it_is_an_option_as_ever(argument):
    assert not is_text(argument, {"--stop"})


def test_a_text_of_one_word_still_needs_two_dashes(run, trained_model):
    code, _, err = run("complete", "-cmd:", "-m", trained_model)
    assert code == 2
    assert "text that begins with '-' and has no space goes after --" in err
    assert run("complete", "-m", trained_model, "--", "-cmd:")[0] == 0
