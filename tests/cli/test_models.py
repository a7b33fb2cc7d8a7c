import io
import json
import os
import random
import shutil
import time

import pytest
import rich.console
from rich.cells import cell_len

from gru_complete.cli.tables import ModelsTable


@pytest.fixture
def home_with_models(trained_model, tmp_path):
    """A home with the models "good" (with its run directory) and "damaged"."""
    models = tmp_path / "home" / "models"
    models.mkdir(parents=True)
    shutil.copytree(trained_model, models / "good")
    shutil.copytree(trained_model.with_name("tiny.run"), models / "good.run")
    shutil.copytree(trained_model, models / "damaged")
    (models / "damaged" / "weights.safetensors").write_bytes(b"x")
    return models


def test_an_empty_home_says_how_to_begin(run):
    code, out, err = run("models", "list")
    assert (code, out) == (0, b"")
    assert "gru-complete train CORPUS" in err


def test_models_are_listed_with_what_is_known_of_them(run, home_with_models):
    code, out, _ = run("models", "list")
    assert code == 0
    good, damaged = (next(line for line in out.decode().splitlines() if name in line) for name in ("good", "damaged"))
    assert "gru" in good
    assert damaged.count("damaged") == 2
    _, out, _ = run("models", "list", "--json")
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["name"] for record in records] == ["damaged", "good"]
    assert records[1]["finished"] is True
    assert "weights.safetensors" in records[0]["problem"]


def test_the_list_says_where_and_when_and_which_is_the_default(run, home_with_models, monkeypatch):
    os.utime(home_with_models / "good" / "manifest.json", (1e9, 1e9))
    day = time.strftime("%Y-%m-%d", time.localtime(1e9))
    monkeypatch.setenv("GRU_COMPLETE_MODEL", "good")
    lines = run("models", "list")[1].decode().splitlines()
    assert lines[0] == f"models in {home_with_models}:"
    good, damaged = (next(line for line in lines if line.split()[:1] == [name]) for name in ("good", "damaged"))
    assert good.split()[:3] == ["good", "default", day]
    assert "default" not in damaged
    records = [json.loads(line) for line in run("models", "list", "--json")[1].splitlines()]
    assert [record["default"] for record in records] == [False, True]
    assert records[1]["written"].startswith(day)
    assert records[1]["num_training_bytes"] > 1000


def test_a_default_that_is_elsewhere_is_named_below_the_list(run, home_with_models, trained_model, monkeypatch):
    monkeypatch.setenv("GRU_COMPLETE_MODEL", str(trained_model))
    assert run("models", "list")[1].decode().splitlines()[-1] == f"default: {trained_model}"
    monkeypatch.setenv("GRU_COMPLETE_MODEL", "nosuch")
    assert "default:" not in run("models", "list")[1].decode()


@pytest.mark.parametrize("columns", [15, *range(20, 45, 5), 60, 80, 120])
def test_names_are_whole_however_narrow_the_terminal(columns):
    rng = random.Random(columns)
    names = ["".join(rng.choices("abcdeäé日-_ ", k=rng.randint(1, 40))) for _ in range(20)]
    names = [f"{' '.join(name.split())}x" for name in names]
    whole = {"cell": "gru-reset-after", "num_parameters": 10**7, "bits_per_byte": 1.5, "finished": True}
    whole |= {"num_training_bytes": 10**9, "written": "2026-11-30T12:00:00+0000", "bytes": 10**7, "default": True}
    records = [{"name": names[0], "problem": "x", "bytes": None, "default": False}]
    records += [{"name": name, **whole} for name in names[1:]]
    console = rich.console.Console(width=columns, file=io.StringIO())
    console.print(ModelsTable(records))
    text = console.file.getvalue()
    assert max(cell_len(line.rstrip()) for line in text.splitlines()) <= columns
    if columns >= 120:
        assert "gru-reset-after" in text
    letters = "".join(line[1:].split("  ")[0] for line in text.splitlines() if "name" not in line)
    for name in names:
        assert name.replace(" ", "") in letters.replace(" ", "")


def test_models_alone_lists_them(run, home_with_models):
    assert run("models") == run("models", "list")
    assert "good" in run("models")[1].decode()


def test_a_model_is_shown_as_json(run, home_with_models):
    code, out, _ = run("models", "show", "good")
    assert code == 0
    record = json.loads(out)
    assert record["arch"]["cell"] == "gru"
    assert len(record["fingerprint"]) == 64


def test_the_run_directory_can_be_removed_alone(run, home_with_models):
    assert run("models", "remove", "good", "--run")[0] == 0
    assert (home_with_models / "good").exists()
    assert not (home_with_models / "good.run").exists()


def test_a_model_is_removed_with_its_run_directory(run, home_with_models):
    assert run("models", "remove", "good")[0] == 0
    assert not (home_with_models / "good").exists()
    assert not (home_with_models / "good.run").exists()


def test_what_is_no_model_is_not_removed(run, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    code, _, _ = run("models", "remove", str(tmp_path / "precious"))
    assert code == 4
    assert (tmp_path / "precious" / "file").exists()


def test_names_from_outside_cannot_steer_a_terminal(run, home_with_models):
    (home_with_models / "good").rename(home_with_models / "go\x1b[2Jod")
    _, out, _ = run("models", "list")
    assert b"\x1b" not in out
    assert "go\\x1b[2Jod" in out.decode()


@pytest.mark.parametrize("value", ["low", {"bits": 1}, None, True, 10**400])
def test_a_figure_that_is_no_number_is_unknown(run, home_with_models, value):
    path = home_with_models / "good" / "manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["metrics"]["held_out_bits_per_byte"] = value
    path.write_text(json.dumps(manifest))
    code, out, _ = run("models", "list")
    assert code == 0
    assert "good" in out.decode()
    _, out, _ = run("models", "list", "--json")
    assert json.loads(out.splitlines()[1])["bits_per_byte"] is None
