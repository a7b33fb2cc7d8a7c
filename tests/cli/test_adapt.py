import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from gru_complete.cli import adapt
from gru_complete.config import TrainingConfig
from gru_complete.errors import BusyError
from gru_complete.model.directory import ModelContents, load_model, save_model
from gru_complete.storage import atomic, lock
from gru_complete.training import adaptation
from tests.kinds import KINDS

posix_only = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def save_without_counts(trained_model, path):
    """The network of a finished model alone, since counts of the old text have a say of their own on a new one."""
    model = load_model(trained_model)
    path.parent.mkdir(parents=True)
    with atomic.new_directory(path) as directory:
        save_model(
            directory,
            ModelContents(
                arch=model.manifest.arch,
                weights=model.weights,
                tokenizer=model.tokenizer,
                metrics={},
                training={},
            ),
        )
    return path


@pytest.fixture
def base(trained_model, tmp_path):
    """A finished model in a directory of its own."""
    return save_without_counts(trained_model, tmp_path / "models" / "base")


@pytest.fixture
def text(tmp_path, corpus_path):
    """A text with words that the model has not seen."""
    path = tmp_path / "new.txt"
    known = corpus_path.read_text()
    path.write_text(known.replace("cat", "zebra").replace("river", "yacht").replace("saw", "quizzed"))
    return path


@pytest.fixture(autouse=True)
def own_temporary_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    yield
    assert list((tmp_path / "temporary").iterdir()) == []


def bits_per_byte(run, model, text):
    return json.loads(run("eval", text, "-m", model, "--json")[1])["bits_per_byte"]


def test_a_new_text_is_learnt_into_a_small_directory_beside_the_model(run, base, text):
    new = base.with_name("new")
    code, out, err = run("adapt", base, text, "-m", new)
    assert (code, out) == (0, b"")
    assert err.splitlines()[0].startswith("corpus: ")
    assert "result: " in err
    assert err.splitlines()[-1].startswith("try: gru-complete complete ")
    assert err.splitlines()[-1].endswith(f" -m {new}")
    assert sorted(os.listdir(base.parent)) == ["base", "new"]
    assert sorted(os.listdir(new)) == ["delta.safetensors", "manifest.json"]
    assert bits_per_byte(run, new, text) < 0.95 * bits_per_byte(run, base, text)
    assert run("complete", "The ", "-m", new)[0] == 0
    assert run("models", "show", new)[0] == 0


def test_json_says_what_was_gained_and_quiet_keeps_stderr_empty(run, base, text):
    new = base.with_name("new")
    code, out, err = run("adapt", base, text, "-m", new, "--quiet", "--json", "--epochs", "2")
    assert (code, err) == (0, "")
    record = json.loads(out)
    assert (record["model"], record["epochs"]) == (str(new), 2)
    assert record["bits_per_byte_after"] < record["bits_per_byte_before"]
    assert 0.05 * text.stat().st_size < record["tuning_bytes"] < 0.15 * text.stat().st_size
    assert record["bytes"] == sum(path.stat().st_size for path in new.iterdir())
    assert load_model(new).manifest.metrics == {
        "tuning_bits_per_byte": record["bits_per_byte_after"],
        "tuning_bits_per_byte_before": record["bits_per_byte_before"],
    }


def test_what_check_finds_unusual_is_inherited(run, base, text):
    manifest = json.loads((base / "manifest.json").read_text())
    manifest["metrics"]["check_threshold"] = 7.5
    (base / "manifest.json").write_text(json.dumps(manifest))
    new = base.with_name("new")
    assert run("adapt", base, text, "-m", new, "--quiet", "--epochs", "1")[0] == 0
    assert load_model(new).manifest.metrics["check_threshold"] == 7.5


def test_what_counts_is_the_model_as_it_is_used_with_its_counts(run, trained_model, corpus_path, tmp_path):
    text = tmp_path / "known.txt"
    text.write_text(corpus_path.read_text()[:10_000])  # which the counts know by heart
    base = tmp_path / "models" / "base"
    shutil.copytree(trained_model, base)
    _, out, _ = run("adapt", base, text, "-m", base.with_name("new"), "--json", "--epochs", "1")
    with_counts = json.loads(out)["bits_per_byte_before"]
    assert load_model(base).mixture is not None
    alone = save_without_counts(trained_model, tmp_path / "alone" / "base")
    _, out, _ = run("adapt", alone, text, "-m", alone.with_name("new"), "--json", "--epochs", "1")
    assert with_counts < json.loads(out)["bits_per_byte_before"] - 0.1


def test_the_same_command_gives_the_same_model(run, base, text):
    for name in ("a", "b"):
        assert run("adapt", base, "-", "-m", base.with_name(name), "--epochs", "1", stdin=text.read_bytes())[0] == 0
    assert load_model(base.with_name("a")).fingerprint == load_model(base.with_name("b")).fingerprint


def test_names_stand_for_models_at_home(run, trained_model, text, tmp_path):
    save_without_counts(trained_model, tmp_path / "home" / "models" / "base")
    code, _, err = run("adapt", "base", text, "-m", "new", "--epochs", "1")
    assert code == 0
    assert err.endswith(" -m new\n")
    assert run("complete", "The ", "-m", "new")[0] == 0


def test_where_nothing_is_gained_no_model_is_written(run, base, text, monkeypatch):
    monkeypatch.setattr(adaptation, "TRAINING", TrainingConfig(seq_len=64, learning_rate=1e3))
    code, out, err = run("adapt", base, text, "-m", base.with_name("new"), "--json")
    assert code == 1
    assert json.loads(out)["model"] is None
    assert "nothing gained" in err
    assert os.listdir(base.parent) == ["base"]


def test_an_adapted_model_can_learn_more_and_needs_only_the_first(run, base, text, corpus_path, tmp_path):
    more = tmp_path / "more.txt"
    more.write_text(corpus_path.read_text().replace("dog", "gnu").replace("house", "igloo"))
    first, second = base.with_name("first"), base.with_name("second")
    assert run("adapt", base, text, "-m", first)[0] == 0
    assert run("adapt", first, more, "-m", second)[0] == 0
    assert load_model(second).manifest.base.name == "base"
    shutil.rmtree(first)
    assert bits_per_byte(run, second, more) < bits_per_byte(run, base, more)
    assert bits_per_byte(run, second, text) < bits_per_byte(run, base, text)


def test_a_model_without_its_base_says_so(run, base, text):
    new = base.with_name("new")
    assert run("adapt", base, text, "-m", new, "--epochs", "1")[0] == 0
    assert run("models", "remove", base)[0] == 0
    code, out, err = run("complete", "The ", "-m", new)
    assert (code, out) == (4, b"")
    assert "beyond the model 'base', which is not beside it" in err
    assert str(base) in err.splitlines()[1]


def test_a_model_that_exists_is_only_replaced_when_asked_to(run, base, text):
    new = base.with_name("new")
    assert run("adapt", base, text, "-m", new, "--epochs", "1")[0] == 0
    before = load_model(new).fingerprint
    code, _, err = run("adapt", base, text, "-m", new, "--epochs", "2")
    assert code == 2
    assert "--replace" in err
    assert load_model(new).fingerprint == before
    assert run("adapt", base, text, "-m", new, "--epochs", "2", "--replace")[0] == 0
    assert load_model(new).fingerprint != before


@pytest.mark.parametrize("place", ["elsewhere", "base", "text inside", "inside text", "foreign", "trained"])
def test_a_place_where_the_model_cannot_be_is_refused_before_any_work(run, base, text, tmp_path, place):
    new = base.with_name("new")
    if place == "elsewhere":
        new = tmp_path / "new"
    elif place == "base":
        new = base
    elif place == "text inside":
        shutil.copytree(base, new)
        shutil.copy(text, new / "text.txt")
        text = new / "text.txt"
    elif place == "inside text":
        text = base.parent
    elif place == "foreign":
        new.mkdir()
        (new / "photo").write_bytes(b"")
    elif place == "trained":
        new.with_name("new.run").mkdir()
        (new.with_name("new.run") / "plan.json").touch()
        (new.with_name("new.run") / "lock").touch()
    before = {path: path.is_dir() or path.read_bytes() for path in sorted(tmp_path.rglob("*"))}
    code, _, err = run("adapt", base, text, "-m", new, "--replace")
    assert code == 2
    assert "hint: " in err
    assert {path: path.is_dir() or path.read_bytes() for path in sorted(tmp_path.rglob("*"))} == before


def test_two_processes_cannot_write_one_model(run, base, text):
    new = base.with_name("new")
    run_dir = base.with_name("new.run")
    run_dir.mkdir()
    with lock.DirectoryLock(run_dir):
        code, _, err = run("adapt", base, text, "-m", new)
        assert code == 6
        assert "is in use by process" in err
        assert sorted(os.listdir(base.parent)) == ["base", "new.run"]
    assert run("adapt", base, text, "-m", new, "--epochs", "1")[0] == 0  # whatever a kill has left there
    assert sorted(os.listdir(base.parent)) == ["base", "new"]


def test_while_a_model_is_adapted_its_name_is_locked(run, base, text, monkeypatch):
    new = base.with_name("new")
    held = []

    def try_to_lock(_, stage):
        with pytest.raises(BusyError), lock.DirectoryLock(base.with_name("new.run")):
            pass
        held.append(stage)

    monkeypatch.setattr(
        adapt.AdaptationDisplay, "stage", lambda it, stage: stage == "learning" and try_to_lock(it, stage)
    )
    assert run("adapt", base, text, "-m", new, "--epochs", "1")[0] == 0
    assert held == ["learning"]


def test_a_base_whose_name_could_not_be_kept_is_refused(run, base, text):
    odd = base.rename(base.with_name("b;se"))
    code, _, err = run("adapt", odd, text, "-m", odd.with_name("new"))
    assert code == 2
    assert "rename it" in err


def test_what_is_missing_or_too_small_has_its_own_exit_code(run, base, text, tmp_path):
    new = base.with_name("new")
    (tmp_path / "small.txt").write_text("The cat.\n" * 113)
    assert run("adapt", base.with_name("none"), text, "-m", new)[0] == 4
    assert run("adapt", base, tmp_path / "none.txt", "-m", new)[0] == 3
    code, _, err = run("adapt", base, tmp_path / "small.txt", "-m", new)
    assert code == 3
    assert "1017 bytes of text; at least 1024 are needed" in err
    assert os.listdir(base.parent) == ["base"]


def test_the_least_that_is_asked_for_is_enough_to_learn_from(run, base, tmp_path):
    for kind in ("prose", "russian", "log"):
        path = tmp_path / f"{kind}.txt"
        path.write_bytes(KINDS[kind](1024))
        code, _, err = run("adapt", base, path, "-m", base.with_name(kind.replace(" ", "-")), "--epochs", "1")
        assert code == 0, err


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf"])
def test_minutes_that_are_no_time_are_refused(run, base, text, minutes):
    code, _, err = run("adapt", base, text, "-m", base.with_name("new"), f"--minutes={minutes}")
    assert code == 2
    assert "--minutes" in err


def test_learning_ends_with_the_minutes(run, base, text):
    code, out, _ = run("adapt", base, text, "-m", base.with_name("new"), "--minutes", "1e-9", "--json")
    record = json.loads(out)
    assert record["epochs"] < 0.5
    assert code == (1 if record["model"] is None else 0)


def test_an_interrupt_while_it_learns_keeps_what_was_gained(run, base, text, monkeypatch):
    evaluations = []

    def interrupt_once(_, stage):
        if stage.startswith("learning, "):
            evaluations.append(stage)
            if len(evaluations) == 1:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(adapt.AdaptationDisplay, "stage", interrupt_once)
    new = base.with_name("new")
    code, out, err = run("adapt", base, text, "-m", new, "--json")
    assert (code, out, len(evaluations)) == (130, b"", 2)
    assert "error: interrupted; what was learnt until then is in " in err
    assert bits_per_byte(run, new, text) < bits_per_byte(run, base, text)


@posix_only
def test_an_interrupt_before_that_leaves_nothing(base, tmp_path):
    temporary = tmp_path / "temporary"
    process = subprocess.Popen(
        [sys.executable, "-m", "gru_complete", "adapt", str(base), "-", "-m", str(base.with_name("new"))],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": str(temporary)}, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not any(temporary.glob("gru-complete-*/*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (143, "error: interrupted before anything was learnt\n")
    assert os.listdir(base.parent) == ["base"]


def test_what_looks_secret_in_a_new_text_is_named_by_kind_and_place(run, base, tmp_path):
    path = tmp_path / "secret.txt"
    path.write_text("The cat ate the bird.\n" * 200 + "Write to irene.adler@briony-lodge.org\n" * 2)
    _, out, err = run("adapt", base, path, "-m", base.parent / "new", "--json")
    assert f"warning: this looks secret, and the model will learn it:\n  email: 2, at {path}:201, {path}:202\n" in err
    assert "hint: with --redact the model learns [email]" in err
    assert json.loads(out)["secrets"] == {"email": 2}
    assert "adler" not in err + out.decode()


def test_a_redacted_text_is_all_that_is_learnt(run, base, text, tmp_path, monkeypatch):
    texts = []

    def read_parts(spool_path, *rest):
        texts.append(spool_path.read_bytes())
        return original(spool_path, *rest)

    original = adaptation._read_parts
    monkeypatch.setattr(adaptation, "_read_parts", read_parts)
    path, same = tmp_path / "secret.txt", tmp_path / "same.txt"
    path.write_text(text.read_text() + "Write to irene.adler@briony-lodge.org\n" * 2)
    same.write_text(text.read_text() + "Write to [email]\n" * 2)
    options = ["--epochs", "1", "--json"]
    code, out, err = run("adapt", base, path, "-m", base.parent / "new", "--redact", *options)
    assert code == 0
    assert "warning" not in err
    assert "note: replaced what looked secret: 2 x [email]\n" in err
    assert json.loads(out)["secrets"] == {"email": 2}
    _, out, _ = run("adapt", base, same, "-m", base.parent / "same", *options)
    assert "secrets" not in json.loads(out)
    assert texts[0] == texts[1]
    assert b"Write to [email]\n" in texts[0]
    deltas = [(base.parent / name / "delta.safetensors").read_bytes() for name in ("new", "same")]
    assert deltas[0] == deltas[1]
