"""Whatever system call fails, and wherever the process dies: the old or the new is seen, never a mixture."""

import errno
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from gru_complete.errors import EnvironmentFailure
from gru_complete.storage import atomic, os_calls
from tests.storage.faulty_os import (
    DISK_FAULTS,
    NEW,
    OLD,
    OPERATIONS,
    Crash,
    count_calls,
    descriptors_of,
    failure_of,
    new_content,
    open_descriptors,
    prepare,
    read,
)


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("fault", DISK_FAULTS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_whichever_call_fails_the_old_or_the_new_is_seen(tmp_path, faulty, name, fault, persistent):
    prepare_old, operation = OPERATIONS[name]
    num_calls = count_calls(tmp_path, faulty, prepare_old, operation)
    assert num_calls >= 7
    for at in range(num_calls):
        target = prepare(tmp_path, prepare_old)
        old, before = read(target), open_descriptors()
        faulty(at, fault, persistent=persistent)
        error = failure_of(operation, target)
        assert open_descriptors() == before
        leftovers = set(os.listdir(target.parent)) - {"target"}
        if error is not None:
            assert read(target) in (old, new_content(name))
            assert str(target.parent) in str(error)
            assert DISK_FAULTS[fault] in str(error)
            assert (error.hint is not None) == (fault != "EIO")
            # The old directory stays aside until the new one is certain to be on the disk.
            assert leftovers <= ({".old-target"} if read(target) == NEW or persistent else set())
        else:  # only clearing the old directory away may fail quietly: the new one is safe
            assert read(target) == new_content(name)
            assert name == "replaced directory" or persistent
        faulty()
        atomic.recover_directory(target)
        assert set(os.listdir(target.parent)) <= {"target"}


@pytest.mark.parametrize("fault", ["crash before", "crash in the middle", "crash after"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_wherever_it_is_killed_the_old_or_the_new_is_seen_and_recovery_cleans_up(tmp_path, faulty, name, fault):
    prepare_old, operation = OPERATIONS[name]
    for at in range(count_calls(tmp_path, faulty, prepare_old, operation)):
        target = prepare(tmp_path, prepare_old)
        old, before = read(target), open_descriptors()
        faulty(at, fault)
        with pytest.raises(Crash):
            operation(target)
        seen = read(target)
        assert seen in (old, new_content(name))
        faulty()
        atomic.recover_directory(target)
        assert read(target) == seen
        assert os.listdir(target.parent) == (["target"] if seen is not None else [])
        assert open_descriptors() == before


def test_when_the_new_directory_is_lost_after_a_kill_no_half_of_the_old_one_comes_back(tmp_path, faulty):
    prepare_old, operation = OPERATIONS["replaced directory"]
    for at in range(count_calls(tmp_path, faulty, prepare_old, operation)):
        target = prepare(tmp_path, prepare_old)
        faulty(at, "crash after")
        with suppress(Crash):
            operation(target)
        shutil.rmtree(target, ignore_errors=True)
        assert read(target) in (OLD, None)


def test_a_recovery_may_itself_be_killed(tmp_path, faulty):
    prepare_old, operation = OPERATIONS["replaced directory"]
    for at in range(count_calls(tmp_path, faulty, prepare_old, operation)):
        for recovery_at in range(30):
            target = prepare(tmp_path, prepare_old)
            faulty(at, "crash after")
            with suppress(Crash):
                operation(target)
            seen = read(target)
            recovery = faulty(recovery_at, "crash before")
            with suppress(Crash):
                atomic.recover_directory(target)
            assert read(target) == seen
            faulty()
            atomic.recover_directory(target)
            assert read(target) == seen
            assert os.listdir(target.parent) == ["target"]
            if not recovery.crashed:
                break
        else:
            pytest.fail("the recovery takes more calls than were tried")


@pytest.mark.parametrize("name", OPERATIONS)
def test_short_writes_are_continued(tmp_path, faulty, name):
    prepare_old, operation = OPERATIONS[name]
    for at in range(count_calls(tmp_path, faulty, prepare_old, operation)):
        target = prepare(tmp_path, prepare_old)
        faulty(at, "short write", persistent=True)
        operation(target)
        assert read(target) == new_content(name)


@pytest.mark.parametrize("name", OPERATIONS)
def test_nothing_is_renamed_before_it_is_synced_nor_acknowledged_before_the_rename_is(tmp_path, faulty, name):
    prepare_old, operation = OPERATIONS[name]
    calls = faulty()
    operation(prepare(tmp_path, prepare_old))
    unsynced: set[Path] = set()  # files with unwritten data, directories with unwritten entries
    opened: dict[int, Path] = {}
    real_open = iter(fd for fd in descriptors_of(calls))
    for call, args in calls.log:
        if call == "open":
            opened[next(real_open)] = Path(args[0])
            if args[1] & os.O_CREAT:
                unsynced |= {Path(args[0]), Path(args[0]).parent}
        elif call == "write":
            unsynced.add(opened[args[0]])
        elif call == "fsync":
            unsynced.discard(opened[args[0]])
        elif call == "mkdir":
            unsynced |= {Path(args[0]), Path(args[0]).parent}
        elif call == "replace":
            source, destination = map(Path, args)
            assert not [path for path in unsynced if path == source or source in path.parents]
            unsynced |= {source.parent, destination.parent}
        elif call in ("unlink", "rmdir"):  # a deletion that is undone by a power cut does no harm
            unsynced = {path for path in unsynced if path != Path(args[0]) and Path(args[0]) not in path.parents}
    assert not unsynced


def test_what_was_written_by_other_means_is_synced_with_its_directory(tmp_path, faulty):
    calls = faulty()
    with atomic.new_directory(tmp_path / "target") as directory:
        (directory / "inner").mkdir()
        (directory / "inner" / "tokens").write_bytes(b"x")
    opened = [Path(args[0]).name for call, args in calls.log if call == "open"]
    assert opened == ["tokens", "inner", directory.name, tmp_path.name]
    assert [call for call, _ in calls.log].count("fsync") == 4


def test_a_sync_that_failed_is_not_tried_again(tmp_path, faulty):
    calls = faulty(2, "EIO")  # open, write, fsync
    with pytest.raises(EnvironmentFailure):
        atomic.write_file(tmp_path / "target", b"new")
    assert [name for name, _ in calls.log] == ["open", "write", "fsync", "close", "unlink"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EACCES])
def test_directories_that_cannot_be_synced_are_tolerated_but_files_are_not(tmp_path, monkeypatch, number):
    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) or refuse_files:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os_calls.OsCalls, "fsync", staticmethod(fsync))
    refuse_files = False
    atomic.write_file(tmp_path / "target", b"new")
    refuse_files = True
    with pytest.raises(EnvironmentFailure):
        atomic.write_file(tmp_path / "target", b"newer")
    assert (tmp_path / "target").read_bytes() == b"new"


@pytest.mark.parametrize(("failures", "succeeds"), [(2, True), (3, False)])
def test_a_rename_that_a_virus_scanner_blocks_is_retried(tmp_path, monkeypatch, failures, succeeds):
    attempts = []

    def replace(source, target):
        attempts.append(target)
        if len(attempts) <= failures:
            raise PermissionError(errno.EACCES, "in use")
        os.replace(source, target)

    monkeypatch.setattr(atomic, "_REPLACE_DELAYS_SECONDS", (0, 0))
    monkeypatch.setattr(os_calls.OsCalls, "replace", staticmethod(replace))
    if succeeds:
        atomic.write_file(tmp_path / "target", b"new")
    else:
        with pytest.raises(EnvironmentFailure, match="in use"):
            atomic.write_file(tmp_path / "target", b"new")
    assert os.listdir(tmp_path) == (["target"] if succeeds else [])
