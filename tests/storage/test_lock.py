"""One process at a time, and a lock that dies with its holder."""

import os
import subprocess
import sys

import pytest

from gru_complete.errors import BusyError, EnvironmentFailure
from gru_complete.storage import lock
from tests.storage.faulty_os import open_descriptors, plant, posix_only

HOLDER = """
import sys, time
from pathlib import Path
from gru_complete.storage.lock import DirectoryLock
with DirectoryLock(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_second_process_learns_who_holds_the_lock_and_a_killed_holder_frees_it(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "locked\n"
        with (
            pytest.raises(BusyError, match=f"in use by process {holder.pid} since ") as caught,
            lock.DirectoryLock(tmp_path),
        ):
            pass
        assert caught.value.exit_code == 6
        holder.kill()
        holder.wait()
    with lock.DirectoryLock(tmp_path):
        pass
    assert os.listdir(tmp_path) == ["lock"]


def test_the_lock_is_exclusive_within_a_process_too_and_can_be_taken_again(tmp_path):
    before = open_descriptors()
    for _ in range(2):
        with lock.DirectoryLock(tmp_path), pytest.raises(BusyError), lock.DirectoryLock(tmp_path):
            pass
    assert open_descriptors() == before


@pytest.mark.parametrize("content", [b"", b"\xff\x1b", b"{}", b'{"pid": [], "since": 3}'])
def test_whatever_the_lock_file_says_a_second_holder_is_refused(tmp_path, content):
    with lock.DirectoryLock(tmp_path):
        (tmp_path / "lock").write_bytes(content)
        with pytest.raises(BusyError, match="in use by another process"), lock.DirectoryLock(tmp_path):
            pass


@pytest.mark.parametrize("content", [b"12345\n", b"{}", b'{"pid": 1, "since": "x"}' + b" " * 200, b"x" * 10_000])
def test_the_lock_of_another_program_is_not_overwritten(tmp_path, content):
    (tmp_path / "lock").write_bytes(content)
    with pytest.raises(EnvironmentFailure, match="another program made it") as caught, lock.DirectoryLock(tmp_path):
        pass
    assert "delete it" in caught.value.hint
    assert (tmp_path / "lock").read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"\0" * 50, b'{"pid": 1, "since": "2026-01-01', b'{"pid": 1, "since": "x"}'])
def test_what_a_kill_or_a_failure_of_power_leaves_in_it_is_ours(tmp_path, content):
    (tmp_path / "lock").write_bytes(content)
    with lock.DirectoryLock(tmp_path):
        pass


@posix_only
@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "fifo", "socket", "device", "directory"])
def test_a_lock_that_leads_elsewhere_is_refused(tmp_path, kind):
    (tmp_path / "run").mkdir()
    (tmp_path / "victim").write_bytes(b"")
    plant(kind, tmp_path / "run" / "lock", tmp_path / "victim")
    with pytest.raises(EnvironmentFailure, match="cannot lock .*lock: it is"), lock.DirectoryLock(tmp_path / "run"):
        pass
    assert (tmp_path / "victim").read_bytes() == b""
    assert sorted(os.listdir(tmp_path)) == ["run", "victim"]


def test_a_missing_directory_cannot_be_locked(tmp_path):
    with pytest.raises(EnvironmentFailure, match="cannot lock"), lock.DirectoryLock(tmp_path / "missing"):
        pass


def test_a_close_that_fails_frees_the_lock_and_is_no_error(tmp_path, faulty):
    calls = faulty()
    with lock.DirectoryLock(tmp_path):
        pass
    assert [name for name, _ in calls.log][-1] == "close"
    faulty(at=len(calls.log) - 1, fault="EIO")
    with lock.DirectoryLock(tmp_path):
        pass
    with lock.DirectoryLock(tmp_path) as held:
        assert held.is_in_place()


def test_a_lock_on_a_directory_that_was_removed_is_not_in_place(tmp_path):
    path = tmp_path / "model.run"
    path.mkdir()
    with lock.DirectoryLock(path) as held:
        path.rename(tmp_path / "removed")
        assert not held.is_in_place()
        path.mkdir()
        (path / "lock").touch()
        assert not held.is_in_place()
