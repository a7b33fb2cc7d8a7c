"""Models by name: found, listed, removed."""

import errno
import os
import re
import shlex
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from gru_complete.errors import BusyError, EnvironmentFailure, ModelError, UsageError
from gru_complete.model.home import (
    find_model,
    list_models,
    remember_last,
    remove_model,
    resolve_model_path,
)
from gru_complete.model.naming import models_home
from gru_complete.model.run_dir import RunDir
from gru_complete.storage import atomic, lock, os_calls
from tests.model.models import (
    save_random_model,
)
from tests.storage.faulty_os import Crash, FaultyOs


def test_a_separator_makes_a_path_and_everything_else_is_a_name(home):
    assert resolve_model_path("./novel") == Path("novel")
    assert resolve_model_path("/tmp/x.run") == Path("/tmp/x.run")
    for name in ("novel", "my novel (2)", "Tagebuch-2024_ä", "v1.2", "日記"):
        assert resolve_model_path(name) == home / name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "-x", "x.run", "x ", "x.", "a\nb", "\x1b[2J", "a\0", "last", "a:b", "x" * 101]
)
def test_what_cannot_be_a_name_is_refused(home, name):
    with pytest.raises(UsageError, match="cannot be the name of a model") as caught:
        resolve_model_path(name)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("path", ["/", "./", ".//", "../", "./.", "a/..", "a/../", "/..", "a/.", "./" + "x" * 5000])
def test_a_path_that_ends_in_no_usable_name_is_refused(path):
    with pytest.raises(UsageError, match="cannot be the place of a model"):
        resolve_model_path(path)


def test_a_path_may_end_in_a_separator_and_lie_above():
    assert resolve_model_path("models/novel/") == Path("models/novel")
    assert resolve_model_path("../novel") == Path("../novel")


@pytest.mark.parametrize("name", ["novel", "a/novel", "my novels/novel (2)"])
def test_a_tilde_is_the_home_directory_also_where_no_shell_has_seen_it(name, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.chdir(tmp_path)
    assert resolve_model_path(f"~/{name}") == tmp_path / "me" / name
    assert resolve_model_path(f"./~/{name}") == Path(f"~/{name}")
    monkeypatch.setenv("GRU_COMPLETE_HOME", f"~/{name}")
    assert models_home() == tmp_path / "me" / name / "models"
    with pytest.raises(UsageError, match="no such home directory"):
        resolve_model_path(f"~no-such-user-here/{name}")


def test_models_live_in_the_users_data_directory_by_default(monkeypatch):
    monkeypatch.delenv("GRU_COMPLETE_HOME", raising=False)
    assert models_home().is_absolute()
    assert models_home().parts[-2:] == ("gru-complete", "models")


def test_the_option_beats_the_environment_which_beats_the_last_trained(home, tokenizer, monkeypatch):
    home.mkdir()
    for name in ("one", "two", "three"):
        save_random_model(home / name, tokenizer)
    with pytest.raises(ModelError, match="no model has been trained yet") as caught:
        find_model(None)
    assert caught.value.hint == "train one with: gru-complete train CORPUS"
    remember_last(home / "one")
    assert find_model(None) == home / "one"
    monkeypatch.setenv("GRU_COMPLETE_MODEL", "two")
    assert find_model(None) == home / "two"
    assert find_model("three") == home / "three"


def test_the_last_trained_may_lie_elsewhere(home, saved):
    remember_last(saved)
    assert find_model(None) == saved


@pytest.mark.parametrize("name", ["novel", "./novel", "my novel (2)", "./a b/c"])
def test_a_missing_model_says_what_to_do(home, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=re.escape(f"no model named '{name}'")) as caught:
        find_model(name)
    assert caught.value.hint == f"train one with: gru-complete train CORPUS -m {shlex.quote(name)}"


def test_a_directory_that_is_not_a_model_is_refused(home):
    (home / "novel").mkdir(parents=True)
    with pytest.raises(ModelError, match="is not a gru-complete model"):
        find_model("novel")


def test_models_are_listed_without_what_is_not_finished(home, tokenizer):
    assert list_models() == []
    home.mkdir()
    for name in ("b", "a", ".tmp-c-12345678"):
        save_random_model(home / name, tokenizer)
    (home / "a.run").mkdir()
    (home / "empty").mkdir()
    remember_last(home / "a")
    assert list_models() == [home / "a", home / "b"]


def unreadable_homes(tmp_path):
    """Homes of models that the system refuses to read, by the reason that it gives."""
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    homes = {
        "not a directory": tmp_path / "file",
        "too many levels of symbolic links": tmp_path / "loop",
        "file name too long": tmp_path / ("x" * 300),
    }
    if os.geteuid():
        (tmp_path / "closed" / "models").mkdir(parents=True)
        (tmp_path / "closed" / "models").chmod(0)
        homes["permission denied"] = tmp_path / "closed"
    return homes


def test_a_directory_of_models_that_cannot_be_read_is_said_to_be_that(tmp_path, monkeypatch):
    for reason, home in unreadable_homes(tmp_path).items():
        monkeypatch.setenv("GRU_COMPLETE_HOME", str(home))
        calls = [list_models, lambda: find_model(None)]
        if reason != "not a directory":  # then there is no such model, and no last one
            calls += [lambda: find_model("novel"), lambda: remove_model(models_home() / "novel", run_only=False)]
        for call in calls:
            with pytest.raises(EnvironmentFailure, match=f"cannot (read|remove) .*: {reason}"):
                call()


def test_a_model_that_is_not_there_cannot_be_removed(home, saved):
    for path, name in ((home / "nosuch", "nosuch"), (saved.with_name("nosuch"), str(saved.with_name("nosuch")))):
        for run_only in (False, True):
            with pytest.raises(ModelError, match=f"^no model named '{re.escape(name)}'$") as caught:
                remove_model(path, run_only=run_only)
            assert caught.value.hint == "see: gru-complete models list"


def test_an_unfinished_training_is_removed_as_a_run(home, tmp_path):
    run_dir = home / "my novel.run"
    run_dir.mkdir(parents=True)
    with lock.DirectoryLock(run_dir):
        pass
    with pytest.raises(ModelError, match="has only an unfinished training") as caught:
        remove_model(home / "my novel", run_only=False)
    assert caught.value.hint == "remove it with: gru-complete models remove 'my novel' --run"
    remove_model(home / "my novel", run_only=True)
    assert not run_dir.exists()


def test_removing_takes_the_model_and_its_run_and_nothing_else(saved):
    run_dir = RunDir.beside(saved).path
    run_dir.mkdir()
    with lock.DirectoryLock(run_dir), pytest.raises(BusyError):
        remove_model(saved, run_only=False)
    remove_model(saved, run_only=True)
    assert os.listdir(saved.parent) == ["model"]
    with pytest.raises(ModelError, match="model.run is not a run directory"):
        remove_model(saved, run_only=True)
    remove_model(saved, run_only=False)
    assert os.listdir(saved.parent) == []


LATER_COMMANDS = {
    "complete another": lambda home: find_model("other"),
    "complete the last": lambda home: find_model(None),
    "list": lambda home: list_models(),
    "remove another": lambda home: remove_model(home / "other", run_only=False),
    "remove again": lambda home: remove_model(home / "model", run_only=False),
}


@pytest.mark.parametrize(
    ("later", "fault"),
    [
        *((later, "crash after") for later in LATER_COMMANDS),
        ("complete another", "crash before"),
        ("complete another", "EACCES"),
    ],
)
def test_a_removal_that_was_killed_or_failed_is_finished_by_any_later_command(home, saved, monkeypatch, later, fault):
    home.mkdir()
    at = 0
    while True:
        for name in ("model", "other"):
            shutil.copytree(saved, home / name, dirs_exist_ok=True)
        remember_last(home / "other")
        run_dir = RunDir.beside(home / "model").path
        run_dir.mkdir()
        with lock.DirectoryLock(run_dir):
            (run_dir / "training.tokens").write_bytes(b"my text")
        faulty = FaultyOs(at, fault)
        with monkeypatch.context() as patch:
            for module in (atomic, lock, os_calls):
                patch.setattr(module, "os_calls", faulty)
            with suppress(Crash, EnvironmentFailure, OSError):
                remove_model(home / "model", run_only=False)
        with suppress(ModelError):
            LATER_COMMANDS[later](home)
        names = set(os.listdir(home))
        assert names <= {"model", "model.run", "other", "last"}  # whole, if at all
        assert ("model.run" in names) <= (run_dir / "training.tokens").exists()
        assert ("model" in names) <= (home / "model" / "manifest.json").exists()
        shutil.rmtree(home / "model", ignore_errors=True)
        shutil.rmtree(run_dir, ignore_errors=True)
        at += 1
        if at > len(faulty.log):
            break
    assert at > 15


def test_what_older_versions_and_a_killed_training_left_is_removed_too(saved):
    run_dir = RunDir.beside(saved).path
    for run_only in (True, False):
        run_dir.mkdir(exist_ok=True)
        with lock.DirectoryLock(run_dir):
            pass
        for name in (".tmp-model.run-01234567", ".tmp-model-01234567"):
            (saved.parent / name).mkdir()
            (saved.parent / name / "training.tokens").write_bytes(b"my text")
        remove_model(saved, run_only=run_only)
        assert os.listdir(saved.parent) == (["model"] if run_only else [])


def test_that_a_removal_cannot_be_finished_is_said_by_the_next_one(saved, monkeypatch):
    run_dir = RunDir.beside(saved).path
    run_dir.mkdir()
    with lock.DirectoryLock(run_dir):
        (run_dir / "training.tokens").write_bytes(b"my text")

    def refuse(path):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os_calls.OsCalls, "unlink", staticmethod(refuse))
    for message in (r"cannot remove .*model\.run: .*what is left of it is in .*removed", "cannot remove all of"):
        with pytest.raises(EnvironmentFailure, match=message):
            remove_model(saved, run_only=False)
    assert find_model(str(saved)) == saved


def test_what_is_not_a_model_is_not_removed(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "manifest.json").write_text("{}")
    (tmp_path / "web.run").mkdir()
    (tmp_path / "web.run" / "page").touch()
    for name in ("photos", "web", "missing"):
        for run_only in (False, True):
            with pytest.raises(ModelError, match="is not a|no model named"):
                remove_model(tmp_path / name, run_only=run_only)
    assert sorted(os.listdir(tmp_path)) == ["photos", "web", "web.run"]
