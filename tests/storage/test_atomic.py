"""What writing, swapping and removing do, and what they refuse."""

import errno
import os
import shutil
import stat
import threading

import pytest

from gru_complete.errors import EnvironmentFailure
from gru_complete.storage import atomic, lock, untrusted
from tests.storage.faulty_os import (
    NEW,
    OLD,
    Crash,
    count_calls,
    fill,
    new_directory,
    old_directory,
    old_file,
    plant,
    posix_only,
    prepare,
    read,
    replace_directory,
)


def test_a_stream_takes_any_number_of_writes_and_appears_when_it_ends(tmp_path):
    pieces = [b"", b"a", b"b" * 3_000_000, b"c" * 100_000]
    with atomic.open_stream(tmp_path / "spool") as stream:
        for piece in pieces:
            stream.write(piece)
        assert not (tmp_path / "spool").exists()
    assert (tmp_path / "spool").read_bytes() == b"".join(pieces)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError])
def test_an_error_of_the_caller_leaves_nothing_and_is_not_renamed(tmp_path, error):
    def write_half(opener):
        with opener(tmp_path / "target") as something:
            if opener is atomic.open_stream:
                something.write(b"half")
            else:
                fill(something, NEW)
            raise error

    for opener in (atomic.open_stream, atomic.new_directory, atomic.replace_directory):
        with pytest.raises(error):
            write_half(opener)
        assert os.listdir(tmp_path) == []


def test_after_an_error_of_the_caller_what_is_still_in_the_buffer_is_not_written(tmp_path, faulty):
    calls = faulty(1, "ENOSPC")
    with pytest.raises(KeyboardInterrupt), atomic.open_stream(tmp_path / "target") as stream:
        interrupted_write(stream)
    assert [name for name, _ in calls.log] == ["open", "close", "unlink"]


def interrupted_write(stream):
    stream.write(b"half")
    raise KeyboardInterrupt


def test_a_new_directory_never_replaces_not_even_an_empty_one(tmp_path):
    (tmp_path / "target").mkdir()
    with pytest.raises(EnvironmentFailure, match="exists"):
        new_directory(tmp_path / "target")
    assert os.listdir(tmp_path / "target") == []
    assert os.listdir(tmp_path) == ["target"]


def test_a_file_is_never_replaced_by_a_directory_nor_a_directory_by_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "directory").mkdir()
    with pytest.raises(EnvironmentFailure, match="not a directory"):
        replace_directory(tmp_path / "file")
    with pytest.raises(EnvironmentFailure, match="not a regular file"):
        atomic.write_file(tmp_path / "directory", b"x")
    assert sorted(os.listdir(tmp_path)) == ["directory", "file"]


@posix_only
def test_a_fifo_or_a_device_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(EnvironmentFailure, match="not a regular file"):
        atomic.write_file(tmp_path / "fifo", b"x")
    assert (tmp_path / "fifo").is_fifo()


@posix_only
def test_the_target_of_a_link_is_replaced_not_the_link(tmp_path):
    (tmp_path / "far").mkdir()
    for name, prepare_old, operation in [("f", old_file, follow_and_write), ("d", old_directory, replace_directory)]:
        prepare_old(tmp_path / "far" / name)
        (tmp_path / name).symlink_to(tmp_path / "far" / name)
        operation(tmp_path / name)
        assert (tmp_path / name).is_symlink()
    assert read(tmp_path / "far" / "f") == b"new"
    assert read(tmp_path / "far" / "d") == NEW
    assert sorted(os.listdir(tmp_path / "far")) == ["d", "f"]


def follow_and_write(target):
    atomic.write_file(target, b"new", follows=True)


@posix_only
def test_a_link_that_the_user_did_not_name_is_replaced_not_its_target(tmp_path):
    old_file(tmp_path / "victim")
    for target in ("victim", "missing", "/dev/null"):
        (tmp_path / "link").symlink_to(target)
        atomic.write_file(tmp_path / "link", b"new")
        assert not (tmp_path / "link").is_symlink()
        (tmp_path / "link").unlink()
    assert read(tmp_path / "victim") == b"old"
    assert os.listdir(tmp_path) == ["victim"]


@posix_only
@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_all_that_is_made_is_for_its_owner_alone(tmp_path, umask):
    previous = os.umask(umask)
    try:
        atomic.write_file(tmp_path / "file", b"x")
        atomic.append_line(tmp_path / "log", "x")
        new_directory(tmp_path / "directory")
        atomic.make_directory(tmp_path / "a" / "b")
        with lock.DirectoryLock(tmp_path / "a"):
            pass
    finally:
        os.umask(previous)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert len(modes) == 8
    assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items())


@posix_only
@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "fifo", "directory", "device"])
def test_a_line_is_appended_to_nothing_but_a_file_of_ours(tmp_path, kind):
    old_file(tmp_path / "victim")
    plant(kind, tmp_path / "log", tmp_path / "victim")
    with pytest.raises(EnvironmentFailure, match="cannot write .*: it is a|cannot write .*: it is not a regular file"):
        atomic.append_line(tmp_path / "log", "x")
    assert read(tmp_path / "victim") == b"old"
    assert not (tmp_path / "missing").exists()


def test_lines_are_appended(tmp_path):
    atomic.append_line(tmp_path / "log", '{"step": 1}')
    atomic.append_line(tmp_path / "log", '{"step": 2}\n')
    assert (tmp_path / "log").read_bytes() == b'{"step": 1}\n{"step": 2}\n'


def test_a_log_on_a_full_disk_says_so(tmp_path, faulty):
    faulty(1, "ENOSPC")
    with pytest.raises(EnvironmentFailure, match="no space left"):
        atomic.append_line(tmp_path / "log", "x")


def test_directories_are_made_with_their_parents_and_kept(tmp_path):
    atomic.make_directory(tmp_path / "a" / "b")
    (tmp_path / "a" / "b" / "kept").write_bytes(b"x")
    atomic.make_directory(tmp_path / "a" / "b")
    assert os.listdir(tmp_path / "a" / "b") == ["kept"]
    with pytest.raises(EnvironmentFailure, match="cannot create"):
        atomic.make_directory(tmp_path / "a" / "b" / "kept")


def test_removing_a_directory_leaves_nothing_and_touches_nothing_else(tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"x")
    old_directory(tmp_path / "target")
    (tmp_path / "target" / "inner").mkdir()
    (tmp_path / "target" / "inner" / "link").symlink_to(outside)
    atomic.remove_directory(tmp_path / "target")
    assert os.listdir(tmp_path) == ["outside"]
    for not_a_directory in ("target", "outside"):
        with pytest.raises(EnvironmentFailure, match="cannot remove"):
            atomic.remove_directory(tmp_path / not_a_directory)


@pytest.mark.parametrize("fault", ["crash before", "crash after"])
def test_a_removal_that_is_killed_leaves_all_or_nothing(tmp_path, faulty, fault):
    for at in range(count_calls(tmp_path, faulty, old_directory, atomic.remove_directory)):
        target = prepare(tmp_path, old_directory)
        faulty(at, fault)
        with pytest.raises(Crash):
            atomic.remove_directory(target)
        assert read(target) in (OLD, None)
        faulty()
        atomic.sweep_temporaries(target.parent)
        assert set(os.listdir(target.parent)) <= {"target"}


def test_a_removal_that_is_killed_is_finished_by_any_later_one(tmp_path, faulty):
    for at in range(count_calls(tmp_path, faulty, old_directory, atomic.remove_directory)):
        target = prepare(tmp_path, old_directory)
        faulty(at, "crash after")
        with pytest.raises(Crash):
            atomic.remove_directory(target)
        faulty()
        atomic.finish_removals(target.parent)
        assert os.listdir(target.parent) in ([], ["target"])
        assert read(target) in (OLD, None)


def test_what_cannot_be_deleted_does_not_keep_the_rest(tmp_path, faulty, monkeypatch):
    old_directory(tmp_path / "target")
    (tmp_path / "target" / "a").mkdir()
    (tmp_path / "target" / "a" / "stuck").write_bytes(b"x")

    def refuse(path):
        if path.name == "stuck":
            raise PermissionError(errno.EPERM, "Operation not permitted")
        os.unlink(path)

    calls = faulty()
    monkeypatch.setattr(calls, "unlink", refuse, raising=False)
    with pytest.raises(EnvironmentFailure, match=r"operation not permitted; what is left of it is in .*\.tmp-removed"):
        atomic.remove_directory(tmp_path / "target")
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert left == ["stuck"]
    with pytest.raises(EnvironmentFailure, match=r"cannot remove all of .*\.tmp-removed: operation not permitted"):
        atomic.finish_removals(tmp_path)
    faulty()
    atomic.finish_removals(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_removal_that_another_process_finishes_first_is_finished(tmp_path, monkeypatch):
    move = atomic._move_into

    def move_and_let_another_finish(removed, path, rubbish):
        move(removed, path, rubbish)
        atomic.finish_removals(tmp_path)

    monkeypatch.setattr(atomic, "_move_into", move_and_let_another_finish)
    old_directory(tmp_path / "old")
    atomic.remove_directory(tmp_path / "old")
    assert list(tmp_path.iterdir()) == []


def test_removals_side_by_side_do_not_disturb_each_other(tmp_path):
    stop = threading.Event()
    errors = []

    def finish():
        while not stop.is_set():
            try:
                atomic.finish_removals(tmp_path)
            except EnvironmentFailure as error:
                errors.append(error)

    threads = [threading.Thread(target=finish) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(100):
        old_directory(tmp_path / str(number))
        atomic.remove_directory(tmp_path / str(number))
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    atomic.finish_removals(tmp_path)
    assert os.listdir(tmp_path) == []


@posix_only
@pytest.mark.parametrize("kind", ["link", "dangling link", "fifo", "socket", "device", "hard link"])
def test_what_somebody_put_in_the_place_of_the_old_directory_is_not_taken_for_it(tmp_path, kind):
    victim = tmp_path / "victim"
    (old_file if kind == "hard link" else old_directory)(victim)
    plant(kind, tmp_path / ".old-target", victim)
    assert atomic.visible_directory(tmp_path / "target") == tmp_path / "target"
    atomic.recover_directory(tmp_path / "target")
    replace_directory(tmp_path / "target")
    assert read(victim) == (b"old" if kind == "hard link" else OLD)
    assert sorted(os.listdir(tmp_path)) == ["target", "victim"]


@posix_only
def test_nothing_is_moved_or_deleted_through_a_link(tmp_path):
    old_directory(tmp_path / "victim")
    old_directory(tmp_path / "target")
    (tmp_path / ".tmp-removed").symlink_to("victim")
    atomic.remove_directory(tmp_path / "target")
    (tmp_path / ".tmp-removed").symlink_to("victim")
    atomic.finish_removals(tmp_path)
    (tmp_path / "link").symlink_to("victim")
    with pytest.raises(EnvironmentFailure, match="not a directory"):
        atomic.remove_directory(tmp_path / "link")
    assert read(tmp_path / "victim") == OLD
    assert sorted(os.listdir(tmp_path)) == ["link", "victim"]


def test_removing_also_removes_what_an_interrupted_swap_left(tmp_path):
    old_directory(tmp_path / "target")
    old_directory(tmp_path / ".old-target")
    atomic.remove_directory(tmp_path / "target")
    assert atomic.visible_directory(tmp_path / "target") == tmp_path / "target"
    assert os.listdir(tmp_path) == []


def test_temporaries_are_swept_and_recovery_sweeps_only_its_own(tmp_path):
    for name in (".tmp-a-12345678", ".tmp-a-b-12345678", ".tmp-b-12345678"):
        old_directory(tmp_path / name)
    (tmp_path / ".tmp-a-87654321").write_bytes(b"x")
    (tmp_path / "kept").write_bytes(b"x")
    atomic.recover_directory(tmp_path / "a")
    assert sorted(os.listdir(tmp_path)) == [".tmp-a-b-12345678", ".tmp-b-12345678", "kept"]
    atomic.sweep_temporaries(tmp_path)
    assert os.listdir(tmp_path) == ["kept"]
    atomic.sweep_temporaries(tmp_path / "missing")


def test_missing_space_or_permission_is_found_before_the_work(tmp_path, monkeypatch, faulty):
    atomic.check_writable(tmp_path, needed_bytes=1)
    assert os.listdir(tmp_path) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 40, 60_000_000))
    with pytest.raises(EnvironmentFailure, match="needs 120 MB, 60 MB free"):
        atomic.check_writable(tmp_path, needed_bytes=120_000_000)
    faulty(0, "EROFS")
    with pytest.raises(EnvironmentFailure, match="read-only file system"):
        atomic.check_writable(tmp_path, needed_bytes=1)


def test_readers_see_whole_files_while_a_writer_replaces_them(tmp_path):
    contents = [b"a" * 200_000, b"b" * 300_000]
    target = tmp_path / "target"
    target.write_bytes(contents[0])
    done = threading.Event()

    def write():
        for number in range(100):
            atomic.write_file(target, contents[number % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert untrusted.read_regular_file(target, max_bytes=1_000_000) in contents
    writer.join()
