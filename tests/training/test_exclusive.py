from contextlib import nullcontext

import pytest

from gru_complete.errors import BusyError, EnvironmentFailure
from gru_complete.model.run_dir import RunDir
from gru_complete.storage import atomic
from gru_complete.storage.lock import DirectoryLock
from gru_complete.training.exclusive import exclusive_use
from tests.storage.faulty_os import FaultyOs


@pytest.fixture
def run_dir(tmp_path):
    return RunDir.beside(tmp_path / "model")


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_a_directory_without_a_plan_is_removed_whatever_ends_the_work(run_dir, error):
    with nullcontext() if error is None else pytest.raises(error), exclusive_use(run_dir):
        (run_dir.path / "training.tokens").touch()
        if error is not None:
            raise error
    assert not run_dir.path.exists()


def test_a_directory_with_a_plan_is_kept(run_dir):
    with exclusive_use(run_dir):
        run_dir.plan_path.touch()
    assert sorted(path.name for path in run_dir.path.iterdir()) == ["lock", "plan.json"]


def test_what_a_kill_has_left_is_used_and_removed(run_dir):
    for leaves_lock in (False, True):
        run_dir.path.mkdir()
        if leaves_lock:
            (run_dir.path / "lock").touch()
        with exclusive_use(run_dir):
            assert run_dir.path.exists()
        assert not run_dir.path.exists()


def test_a_directory_that_another_process_uses_is_neither_used_nor_removed(run_dir):
    run_dir.path.mkdir()
    with DirectoryLock(run_dir.path), pytest.raises(BusyError), exclusive_use(run_dir):
        pass
    assert run_dir.path.exists()


def test_a_directory_that_was_removed_before_it_was_locked_is_not_used(run_dir, monkeypatch):
    monkeypatch.setattr(DirectoryLock, "is_in_place", lambda _: False)
    with pytest.raises(BusyError, match="just removed"), exclusive_use(run_dir):
        pass


def test_a_directory_that_is_removed_while_it_is_being_locked_is_in_use(run_dir, monkeypatch):
    def refuse(lock):
        if lock.path.exists():
            lock.path.rmdir()
        raise EnvironmentFailure("no such file")

    monkeypatch.setattr(DirectoryLock, "__enter__", refuse)
    with pytest.raises(BusyError, match="just removed"), exclusive_use(run_dir):
        pass


def test_a_directory_that_cannot_be_made_is_the_machines_refusal_and_not_another_process(run_dir, monkeypatch):
    monkeypatch.setattr(atomic, "os_calls", FaultyOs(at=0, fault="EACCES"))
    with pytest.raises(EnvironmentFailure, match="cannot create"), exclusive_use(run_dir):
        pytest.fail("nothing was made")
