import json
import shutil

import pytest


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
