import os
import subprocess
import unicodedata
from pathlib import Path

import pytest

from gru_complete.errors import UsageError
from gru_complete.model.home import resolve_model_path
from gru_complete.model.manifest import is_model_name
from gru_complete.model.naming import default_model_name, model_argument, models_home


def test_names_are_made_of_what_file_names_have(tmp_path):
    assert default_model_name(["some/dir/my notes (2).txt"]) == "my-notes-2"
    assert default_model_name([str(tmp_path)]) == tmp_path.name
    assert default_model_name(["x" * 5000]) == "x" * 80
    assert default_model_name(["\u65e5" * 60 + ".txt"]) == "\u65e5" * 26
    os.mkfifo(tmp_path / "pipe")
    for corpus in (["-"], [str(tmp_path / "pipe")], ["a.txt", "b.txt"], ["/"]):
        with pytest.raises(UsageError):
            default_model_name(corpus)


NAMES = ("मेरी-डायरी", "தமிழ்", "ภาษาไทย", "বাংলা", "שָׁלוֹם", "ɔ̃ ɛ̃".replace(" ", "-"), "re\u0301sume\u0301", "ལེགས")


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_may_be_of_any_script_with_its_marks(name):
    assert default_model_name([f"{name}.txt"]) == name
    assert is_model_name(name)


def test_every_mark_may_follow_a_letter_of_a_name_but_not_begin_it():
    marks = [chr(code) for code in range(0x300, 0x1E00) if unicodedata.category(chr(code)).startswith("M")]
    assert all(is_model_name(f"a{mark}b") and default_model_name([f"a{mark}b"]) == f"a{mark}b" for mark in marks)
    assert not any(is_model_name(f"{mark}b") or is_model_name(f"a {mark}") for mark in marks)


def test_a_model_in_the_home_is_named_and_another_is_a_quoted_path(tmp_path):
    assert model_argument(tmp_path / "home" / "models" / "novel") == "novel"
    assert model_argument(tmp_path / "my models" / "novel") == f"'{tmp_path}/my models/novel'"


@pytest.mark.parametrize(
    "path", ["novel", "my novel", "~/x", "-x", "a/b c", "../up", "$HOME/x", "last", "x\x1b[2J", "it's", "日記", "~"]
)
def test_a_model_argument_leads_back_to_the_model(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for place in (Path(path), tmp_path / path, models_home() / "my novel (2)"):
        argument = model_argument(place)
        assert argument.isprintable()
        words = subprocess.run(["bash", "-c", f"printf '%s\\0' {argument}"], stdout=subprocess.PIPE, check=True).stdout
        assert resolve_model_path(os.fsdecode(words.split(b"\0")[0])).absolute() == place.absolute()
