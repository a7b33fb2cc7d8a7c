"""The sample world as a program."""

import json
import subprocess
import sys

import pytest

from gru_complete.errors import CorpusError
from gru_complete.sample_world import __main__
from gru_complete.sample_world.probability import bits_per_byte
from gru_complete.sample_world.writing import generate


def test_the_command_line_writes_and_scores(tmp_path, capsys):
    __main__.main(["corpus", str(tmp_path / "fresh.txt"), "--bytes", "2000", "--seed", "3"])
    text = (tmp_path / "fresh.txt").read_bytes().decode()
    assert text == generate(2_000, seed=3)
    __main__.main(["score", str(tmp_path / "fresh.txt")])
    assert float(capsys.readouterr().out) == pytest.approx(bits_per_byte(text), abs=1e-6)
    __main__.main(["pairs", "-", "--count", "3", "--corpus", str(tmp_path / "fresh.txt")])
    assert [json.loads(line)["distance"] for line in capsys.readouterr().out.splitlines()]


def test_the_command_line_explains_its_failures(tmp_path, capsys):
    (tmp_path / "other.txt").write_bytes(b"Call me Ishmael.\n")
    for name, complaint in (("other.txt", "cannot write"), ("none.txt", "cannot read")):
        with pytest.raises(SystemExit) as failure:
            __main__.main(["score", str(tmp_path / name)])
        assert failure.value.code == CorpusError.exit_code
        assert complaint in capsys.readouterr().err


def test_help_names_the_commands():
    command = [sys.executable, "-m", "gru_complete.sample_world", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert all(word in done.stdout for word in ("corpus", "pairs", "score"))
