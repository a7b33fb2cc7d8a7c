"""Whatever somebody has put where a file of ours is expected, no file outside changes, nothing hangs, nothing crashes.

A case is a kind of thing, a name and a command. The link, and the second name, lead to what was there before, so that
its content would be accepted.
"""

import itertools
import shutil
import signal
from pathlib import Path

import pytest

from tests.conftest import TINY
from tests.storage.faulty_os import plant, posix_only

KINDS = ("link", "dangling link", "hard link", "fifo", "socket", "device", "directory")
MODEL_FILES = ("manifest.json", "weights.safetensors", "tokenizer.model", "ngrams.safetensors")
CHECKPOINT = "tiny.run/checkpoints/step-00000024"
RUN_FILES = (
    *("lock", "plan.json", "metrics.jsonl", "tokenizer.model", "text.json", "training.tokens", "training.json"),
    *("tuning.tokens", "tuning.json", "checkpoints", ".tmp-corpus.txt", "finished"),
)
NAMES = {
    "model": [f"tiny/{name}" for name in MODEL_FILES],
    "run": [
        *(f"tiny.run/{name}" for name in RUN_FILES),
        *(f"{CHECKPOINT}{name}" for name in ("", "/manifest.json", "/weights.safetensors", "/loop.json", "/new")),
    ],
    "home": ["tiny", "new", "tiny.run", "last", ".old-tiny", ".tmp-removed", ".tmp-tiny-01234567", "state"],
}
SETTINGS = [f"--set={setting}" for setting in TINY]
QUICK_COMMANDS = {
    "complete": ["complete", "The cat", "-m", "tiny", "--until", "word"],
    "complete the last": ["complete", "The cat", "--until", "word"],
    "complete a state": ["complete", " cat", "-m", "tiny", "--state-in", "STATE", "--until", "word"],
    "complete, a state out": ["complete", "The", "-m", "tiny", "--state-out", "STATE", "--until", "word"],
    "prime": ["prime", "CORPUS", "-m", "tiny", "--state-out", "STATE"],
    "list": ["models", "list"],
    "show": ["models", "show", "tiny"],
    "remove": ["models", "remove", "tiny"],
    "remove the run": ["models", "remove", "tiny", "--run"],
}
SLOW_COMMANDS = {
    "train": ["train", "CORPUS", "-m", "tiny", *SETTINGS],
    "train anew": ["train", "CORPUS", "-m", "tiny", "--replace", *SETTINGS],
    "learn more": ["train", "CORPUS", "--base", "tiny", "-m", "new", *SETTINGS],
    "evaluate": ["eval", "-m", "tiny", "--novelty"],
}


@pytest.fixture
def case(tmp_path, trained_model, run, monkeypatch):
    """Run a command with something planted; returns its exit code and stderr after checking what always holds."""
    corpus = trained_model.parent / "corpus.txt"
    home, outside = tmp_path / "home" / "models", tmp_path / "outside"

    def run_case(command, kind, name):
        for directory in (home, outside):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
        shutil.copytree(trained_model, home / "tiny")
        shutil.copytree(trained_model.with_name("tiny.run"), home / "tiny.run")
        (home / "last").write_text("tiny")
        if command[0] == "train" and "--replace" not in command:
            shutil.rmtree(home / "tiny")
            (home / "tiny.run" / "finished").unlink()
        make_case(kind, home / name, outside, trained_model)
        before = snapshot(outside)
        words = [{"STATE": str(home / "state"), "CORPUS": str(corpus)}.get(word, word) for word in command]
        signal.alarm(120)  # whatever waits for ever is interrupted
        code, _, errors = run(*words)
        signal.alarm(0)
        lines = [line for line in errors.splitlines() if line.startswith("error: ")]
        where = f"{command} with a {kind} as {name}: {code} {errors}"
        assert code in (0, 2, 4, 5), where
        assert len(lines) == (code > 1), where
        # The one link that may be followed is that of a model itself: the user may keep models elsewhere.
        if not (name == "tiny" and (home / name).is_symlink() and "--replace" in command):
            assert snapshot(outside) == before, where
        return code, errors

    def give_up(*_):
        pytest.fail("the command hangs")

    previous = signal.signal(signal.SIGALRM, give_up)
    yield run_case
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


def make_case(kind: str, path: Path, outside: Path, model: Path) -> None:
    """Replace what is at a path; a link leads to what was there, moved outside."""
    victim = outside / "victim"
    if path.exists():
        shutil.move(path, victim)
    elif kind == "link" and path.name in (".old-tiny", ".tmp-removed"):
        shutil.copytree(model, victim)
    else:
        victim.write_bytes(b"precious")
    (outside / ".tmp-rubbish").write_bytes(b"not ours")
    if kind == "hard link" and victim.is_dir():
        kind = "link"
    path.parent.mkdir(exist_ok=True)
    plant(kind, path, victim)


def snapshot(directory: Path) -> dict[str, tuple]:
    """All that can be seen of a directory but when it was read."""
    found = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else None
        found[str(path)] = (status.st_mode, status.st_mtime_ns, status.st_ino, content)
    return found


def quick_cases() -> list[tuple[str, str]]:
    """The commands that do not train, each with the names that it may come upon."""
    return [
        (command, name)
        for command in QUICK_COMMANDS
        for name in (*NAMES["home"], *NAMES["model"], *(NAMES["run"] if "remove" in command else NAMES["run"][:1]))
    ]


@posix_only
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_outside_changes_in_one_case_of_twelve(case, kind):
    for command, name in quick_cases()[KINDS.index(kind) :: 12]:
        case(QUICK_COMMANDS[command], kind, name)


@posix_only
@pytest.mark.slow
@pytest.mark.parametrize("command", QUICK_COMMANDS)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_outside_changes(case, command, kind):
    for chosen, name in quick_cases():
        if chosen == command:
            case(QUICK_COMMANDS[command], kind, name)


@posix_only
@pytest.mark.parametrize("kind", ["link", "hard link", "fifo"])
@pytest.mark.parametrize("name", ["tiny.run", *NAMES["run"][:3], "tiny.run/checkpoints"])
def test_training_refuses_a_run_directory_that_leads_elsewhere(case, kind, name):
    code, errors = case(SLOW_COMMANDS["train"], kind, name)
    assert code in (2, 4, 5)
    assert "tiny.run" in errors


@posix_only
@pytest.mark.slow
@pytest.mark.parametrize("command", SLOW_COMMANDS)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_outside_changes_by_training_and_what_it_left(case, command, kind):
    for name in itertools.chain(*NAMES.values()):
        case(SLOW_COMMANDS[command], kind, name)


@posix_only
@pytest.mark.parametrize("linked", ["home", "home/models", "home/models/tiny"])
def test_models_may_be_kept_behind_a_link_of_the_users(run, trained_model, tmp_path, linked):
    real = tmp_path / "real"
    models = tmp_path / "home" / "models"
    models.mkdir(parents=True)
    shutil.copytree(trained_model, models / "tiny")
    shutil.copytree(trained_model.with_name("tiny.run"), models / "tiny.run")
    (tmp_path / linked).rename(real)
    (tmp_path / linked).symlink_to(real)
    assert run("complete", "The cat", "-m", "tiny")[0] == 0
    assert b"tiny" in run("models", "list")[1]
    assert run("eval", trained_model.parent / "corpus.txt", "-m", "tiny")[0] == 0
    assert run("models", "remove", "tiny", "--run")[0] == 0
    assert not (models / "tiny.run").exists()
    assert (tmp_path / linked).is_symlink()
    assert run("models", "remove", "tiny")[0] == (5 if linked.endswith("tiny") else 0)


@posix_only
@pytest.mark.slow
@pytest.mark.parametrize("linked", ["home", "home/models", "home/models/tiny"])
def test_a_training_may_write_behind_a_link_of_the_users(run, trained_model, tmp_path, linked):
    real = tmp_path / "real"
    models = tmp_path / "home" / "models"
    models.mkdir(parents=True)
    shutil.copytree(trained_model, models / "tiny")
    (tmp_path / linked).rename(real)
    (tmp_path / linked).symlink_to(real)
    before = (models / "tiny" / "manifest.json").read_bytes()
    corpus = trained_model.parent / "corpus.txt"
    assert run("train", corpus, "-m", "tiny", "--replace", "--set=training.seed=7", *SETTINGS)[0] == 0
    assert (models / "tiny" / "manifest.json").read_bytes() != before
    assert (tmp_path / linked).is_symlink()
    assert run("complete", "The cat")[0] == 0
