"""Nobody but its owner may read what a command writes, whatever the umask, and whatever was there before."""

import os
import shutil
import stat

import pytest

from tests.conftest import TINY, small_text
from tests.storage.faulty_os import posix_only

pytestmark = posix_only
SETTINGS = [f"--set={setting}" for setting in TINY]


@pytest.fixture
def no_umask():
    previous = os.umask(0)
    yield
    os.umask(previous)


def open_to_others(directory):
    """As ``find DIRECTORY -perm /077``, without links."""
    paths = [path for path in (directory, *directory.rglob("*")) if not path.is_symlink()]
    assert len(paths) > 1
    return [str(path) for path in paths if stat.S_IMODE(path.stat().st_mode) & 0o077]


def test_a_training_leaves_nothing_that_others_can_read(trained_model):
    for place in (trained_model, trained_model.with_name("tiny.run"), trained_model.parent / "home"):
        assert open_to_others(place) == []


def test_a_state_is_for_its_owner_alone(run, trained_model, tmp_path, corpus_path, no_umask):
    out = tmp_path / "states"
    out.mkdir(mode=0o700)
    assert run("prime", corpus_path, "-m", trained_model, "--state-out", out / "new")[0] == 0
    (out / "new").chmod(0o644)
    assert run("prime", corpus_path, "-m", trained_model, "--state-out", out / "new")[0] == 0
    assert run("complete", "The", "-m", trained_model, "--state-out", out / "other")[0] == 0
    assert open_to_others(out) == []


@pytest.mark.slow
def test_training_priming_and_removing_leave_nothing_that_others_can_read(run, tmp_path, no_umask):
    (tmp_path / "corpus.txt").write_text(small_text())
    (tmp_path / "more.txt").write_text(small_text(seed=1).replace("cat", "ox"))
    home = tmp_path / "home"
    assert run("train", tmp_path / "corpus.txt", "-m", "tiny", *SETTINGS)[0] == 0
    assert run("prime", tmp_path / "more.txt", "-m", "tiny", "--state-out", home / "state")[0] == 0
    assert run("train", tmp_path / "more.txt", "--base", "tiny", "-m", "new", *SETTINGS)[0] == 0
    assert open_to_others(home) == []
    assert run("models", "remove", "tiny", "--run")[0] == 0
    assert open_to_others(home) == []


@pytest.mark.slow
def test_what_an_older_version_left_open_is_closed_and_that_is_said(run, tmp_path, trained_model):
    home = tmp_path / "home" / "models"
    shutil.copytree(trained_model, home / "older")
    shutil.copytree(trained_model.with_name("tiny.run"), home / "tiny.run")
    for path in (home, *home.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (tmp_path / "corpus.txt").write_text(small_text())
    code, _, errors = run("train", tmp_path / "corpus.txt", "-m", "tiny", "--replace", *SETTINGS)
    assert code == 0
    assert "/models was open to other users of this machine; now it is for you alone" in errors
    older = [str(path) for path in (home / "older", *(home / "older").rglob("*"))]
    assert set(open_to_others(home)) == set(older)  # nobody but the owner comes as far as these
    code, _, errors = run("train", tmp_path / "corpus.txt", "-m", "tiny", "--replace", *SETTINGS)
    assert "open to other users" not in errors
