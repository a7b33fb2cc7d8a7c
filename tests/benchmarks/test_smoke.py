"""Every benchmark runs: with ``--smoke``, on a tiny model and tiny texts, in seconds. Its figures mean nothing then."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gru_complete

DIRECTORY = Path(gru_complete.__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.stem for path in DIRECTORY.glob("*.py") if path.stem not in ("common", "made_up_texts"))
PAIRS = [("The cat saw a bird.", "The cat saw a river."), ("A dog ate slowly.", "A dog ate under.")]


@pytest.fixture(scope="module")
def inputs(trained_model, tmp_path_factory):
    """What ``parse_arguments`` of benchmarks/common.py says there is in the directory."""
    directory = tmp_path_factory.mktemp("smoke")
    for suffix in ("", ".run"):
        shutil.copytree(f"{trained_model}{suffix}", directory / f"model{suffix}")
    text = (trained_model.parent / "corpus.txt").read_text()
    (directory / "corpus.txt").write_text(text)
    (directory / "text.txt").write_text(text[len(text) // 2 :])
    pairs = [json.dumps({"right": right, "wrong": wrong}) + "\n" for right, wrong in PAIRS]
    (directory / "pairs.jsonl").write_text("".join(pairs))
    return directory


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_benchmark_runs(script, inputs, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GRU_COMPLETE_KERNEL": "off"}
    environment["PYTHONPATH"] = str(DIRECTORY.parent)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # or each of many processes compiles the package
    command = [sys.executable, DIRECTORY / f"{script}.py", "--smoke", inputs]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip()
    assert "nan" not in done.stdout.lower().split()


def test_every_benchmark_is_listed_with_what_it_measures():
    listed = (DIRECTORY / "README.md").read_text()
    assert [script for script in SCRIPTS if f"`{script}.py" not in listed] == []
