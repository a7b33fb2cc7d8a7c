"""`eval --secrets`, which trains a model of its own beside the user's."""

import json
import math
import shutil
import signal
import tempfile

import pytest

from gru_complete.evaluation import planting


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where temporary directories are made."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


@pytest.fixture
def few_canaries(monkeypatch):
    monkeypatch.setattr(planting, "TIMES", (0, 1, 4))
    monkeypatch.setattr(planting, "NUM_CANARIES", 9)


def contents(model):
    directories = (model, model.with_name(f"{model.name}.run"))
    return {path: path.read_bytes() for directory in directories for path in directory.rglob("*") if path.is_file()}


def test_a_table_and_what_it_means_and_nothing_is_left_behind(run, trained_model, temporary):
    before = contents(trained_model)
    code, out, err = run("eval", "-m", trained_model, "--secrets")
    assert (code, err) == (0, "")
    lines = out.decode().splitlines()
    rows = [line.split() for line in lines if "of 3  " in line]
    assert [" ".join(row[:-10]) for row in rows] == ["0 (control)", *map(str, (1, 2, 4, 8, 16, 32))]
    assert max(map(len, lines[:-1])) <= 80
    for row in rows:
        for exposure, rank, first, *of in (row[-10:-5], row[-5:]):
            assert float(exposure) == pytest.approx(math.log2(1e5 / float(rank.replace(",", ""))), abs=0.5)
            assert int(first) in range(4)
            assert of == ["of", "3"]
    assert "after 24 steps; by chance 1.4 bits, at most 16.6" in out.decode()
    assert lines[-1].startswith("of 3 numbers planted once, ")
    assert "bits per byte" not in out.decode()  # alone, only this is done
    assert list(temporary.iterdir()) == []
    assert contents(trained_model) == before


def test_json_has_every_rank_beside_what_else_is_asked(run, trained_model, temporary, few_canaries, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("The cat ate the bird.\n" * 20)
    code, out, _ = run("eval", text, "-m", trained_model, "--secrets", "--json")
    record = json.loads(out)
    assert (code, record["num_bytes"]) == (0, 440)
    secrets = record["secrets"]
    assert (secrets["steps"], secrets["candidates"]) == (24, 100_000)
    assert [level["times"] for level in secrets["planted"]] == [0, 1, 4]
    for level in secrets["planted"]:
        for figures in (level, level["network_alone"]):
            assert len(figures["ranks"]) == 3
            assert all(1 <= rank <= 100_000 for rank in figures["ranks"])


def test_without_a_run_directory_it_is_refused_before_any_work(run, trained_model, tmp_path, temporary):
    shutil.copytree(trained_model, tmp_path / "alone")
    code, out, err = run("eval", "-m", tmp_path / "alone", "--secrets")
    assert (code, out) == (2, b"")
    assert "the training text of alone is missing" in err
    assert list(temporary.iterdir()) == []


def test_the_run_directory_of_another_training_is_refused(run, trained_model, tmp_path):
    shutil.copytree(trained_model, tmp_path / "m")
    shutil.copytree(trained_model.with_name("tiny.run"), tmp_path / "m.run")
    plan = tmp_path / "m.run" / "plan.json"
    plan.write_text(plan.read_text().replace('"max_steps": 24', '"max_steps": 25'))
    code, _, err = run("eval", "-m", tmp_path / "m", "--secrets")
    assert code == 4
    assert "belongs to another training" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_behind(run, trained_model, temporary, monkeypatch, number):
    train = planting.run_training

    def interrupted(request, **options):
        events = train(request, **options)
        for event in events:
            yield event
            if type(event).__name__ == "Stepped":
                assert list(temporary.iterdir()) != []
                signal.raise_signal(number)

    monkeypatch.setattr(planting, "run_training", interrupted)
    code, out, err = run("eval", "-m", trained_model, "--secrets")
    assert (code, out, err) == (128 + number, b"", "error: interrupted\n")
    assert list(temporary.iterdir()) == []
