"""Whatever call fails, and wherever the process dies: the old or the new is seen, never a mixture."""

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from gru_complete.errors import BusyError, EnvironmentFailure, ModelError, printable
from gru_complete.storage import atomic, lock, os_calls, untrusted

OLD, NEW = {"manifest.json": b"old", "weights": b"o" * 50}, {"manifest.json": b"new", "weights": b"n" * 60}
DISK_FAULTS = {"ENOSPC": "no space left", "EIO": "input/output error", "EDQUOT": "quota exceeded"}
posix_only = pytest.mark.skipif(os.name == "nt", reason="POSIX file types and signals")


class Crash(BaseException):
    """The process is dead: nothing that it would do from here on reaches the disk."""


class FaultyOs:
    """The system calls of ``files``, of which the one numbered ``at`` goes wrong; ``log`` holds what was called."""

    def __init__(self, at: int | None = None, fault: str = "", *, persistent: bool = False) -> None:
        self.at, self.fault, self.persistent = at, fault, persistent
        self.log: list[tuple[str, tuple]] = []
        self.crashed = False

    def __getattr__(self, name):
        return lambda *args: self.call(name, args)

    def call(self, name, args):
        if self.crashed:
            if name == "close":  # which the kernel does for the dead
                os.close(*args)
            raise Crash
        self.log.append((name, args))
        number = len(self.log) - 1
        hit = self.at is not None and (number >= self.at if self.persistent else number == self.at)
        if not hit or (self.persistent and name in ("close", "unlink", "rmdir")):
            return self.real(name, args)
        return self.go_wrong(name, args)

    def go_wrong(self, name, args):
        if self.fault == "short write":
            return os.write(args[0], args[1][: len(args[1]) // 2 or 1]) if name == "write" else self.real(name, args)
        if self.fault.startswith("crash"):
            self.crashed = True
            if self.fault == "crash in the middle" and name == "write":
                os.write(args[0], args[1][: len(args[1]) // 2])
            elif self.fault == "crash after" or name == "close":
                result = self.real(name, args)
                if name == "open":
                    os.close(result)
            raise Crash
        if name == "close":
            os.close(*args)
        number = getattr(errno, self.fault)
        raise OSError(number, os.strerror(number))

    @staticmethod
    def real(name, args):
        if name == "fsync":
            return os.fstat(args[0])  # the descriptor must be open; the disk is not asked
        return getattr(os, name)(*args)


def fill(directory: Path, contents: dict[str, bytes]) -> None:
    for name in sorted(contents, reverse=True):
        atomic.write_file(directory / name, contents[name])


def read(path: Path):
    path = atomic.visible_directory(path)
    if path.is_dir():
        return {child.name: child.read_bytes() for child in path.iterdir()}
    return path.read_bytes() if path.exists() else None


def write_file(target: Path) -> None:
    atomic.write_file(target, b"new")


def new_directory(target: Path) -> None:
    with atomic.new_directory(target) as directory:
        fill(directory, NEW)


def replace_directory(target: Path) -> None:
    with atomic.replace_directory(target) as directory:
        fill(directory, NEW)


def no_old(target: Path) -> None:
    pass


def old_file(target: Path) -> None:
    target.write_bytes(b"old")


def old_directory(target: Path) -> None:
    target.mkdir()
    for name, data in OLD.items():
        (target / name).write_bytes(data)


OPERATIONS = {
    "new file": (no_old, write_file),
    "replaced file": (old_file, write_file),
    "new directory": (no_old, new_directory),
    "first replaced directory": (no_old, replace_directory),
    "replaced directory": (old_directory, replace_directory),
}


@pytest.fixture
def faulty(monkeypatch):
    def install(*args, **kwargs):
        calls = FaultyOs(*args, **kwargs)
        for module in (atomic, lock, os_calls):
            monkeypatch.setattr(module, "os_calls", calls)
        return calls

    yield install
    monkeypatch.undo()


def prepare(tmp_path: Path, prepare_old) -> Path:
    shutil.rmtree(tmp_path / "disk", ignore_errors=True)
    (tmp_path / "disk").mkdir()
    target = tmp_path / "disk" / "target"
    prepare_old(target)
    return target


def count_calls(tmp_path, faulty, prepare_old, operation) -> int:
    calls = faulty()
    operation(prepare(tmp_path, prepare_old))
    return len(calls.log)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


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


def failure_of(operation, target: Path) -> EnvironmentFailure | None:
    try:
        operation(target)
    except EnvironmentFailure as error:
        return error
    return None


def new_content(name: str):
    return b"new" if "file" in name else NEW


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


def descriptors_of(calls: FaultyOs):
    """The descriptors that the logged opens gave, in order: each open is followed by calls that name its descriptor."""
    for position, (call, _) in enumerate(calls.log):
        if call == "open":
            yield next(args[0] for name, args in calls.log[position:] if name in ("write", "fsync", "close"))


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
def test_a_rename_that_a_virus_scanner_bars_is_tried_a_few_times(tmp_path, monkeypatch, failures, succeeds):
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


def test_a_stream_takes_any_number_of_pieces_and_appears_when_it_ends(tmp_path):
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
def test_what_a_link_points_to_is_replaced_where_it_lies(tmp_path):
    (tmp_path / "far").mkdir()
    for name, prepare_old, operation in [("f", old_file, write_file), ("d", old_directory, replace_directory)]:
        prepare_old(tmp_path / "far" / name)
        (tmp_path / name).symlink_to(tmp_path / "far" / name)
        operation(tmp_path / name)
        assert (tmp_path / name).is_symlink()
    assert read(tmp_path / "far" / "f") == b"new"
    assert read(tmp_path / "far" / "d") == NEW
    assert sorted(os.listdir(tmp_path / "far")) == ["d", "f"]


@posix_only
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_permissions_follow_the_umask(tmp_path, umask, mode):
    previous = os.umask(umask)
    try:
        atomic.write_file(tmp_path / "file", b"x")
        atomic.append_line(tmp_path / "log", "x")
        new_directory(tmp_path / "directory")
    finally:
        os.umask(previous)
    for path in (tmp_path / "file", tmp_path / "log", tmp_path / "directory" / "weights"):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "directory").stat().st_mode) == 0o777 & ~umask


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


def test_removing_removes_what_a_cut_swap_has_left_too(tmp_path):
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


def test_a_directory_without_room_or_permission_is_found_before_the_work(tmp_path, monkeypatch, faulty):
    atomic.check_writable(tmp_path, needed_bytes=1)
    assert os.listdir(tmp_path) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 40, 60_000_000))
    with pytest.raises(EnvironmentFailure, match="needs 120 MB, 60 MB free"):
        atomic.check_writable(tmp_path, needed_bytes=120_000_000)
    faulty(0, "EROFS")
    with pytest.raises(EnvironmentFailure, match="read-only file system"):
        atomic.check_writable(tmp_path, needed_bytes=1)


def test_a_file_of_just_the_allowed_size_is_read_whole(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert untrusted.read_regular_file(tmp_path / "file", max_bytes=5) == b"12345"
    with pytest.raises(ModelError, match="larger than 4 bytes"):
        untrusted.read_regular_file(tmp_path / "file", max_bytes=4)
    (tmp_path / "empty").write_bytes(b"")
    assert untrusted.read_regular_file(tmp_path / "empty", max_bytes=0) == b""


@pytest.fixture
def five_seconds():
    """Ends a test that waits for a FIFO or a device."""
    previous = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it hangs"))
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


@posix_only
@pytest.mark.parametrize("kind", ["missing", "symbolic link", "fifo", "device", "directory", "socket-like"])
def test_only_regular_files_are_read(tmp_path, five_seconds, kind):
    path = tmp_path / "x\x1b[31m"
    if kind == "symbolic link":
        path.symlink_to("/etc/passwd")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "directory":
        path.mkdir()
    elif kind == "socket-like":
        path = Path("/dev/null")
    with pytest.raises(ModelError) as caught:
        untrusted.read_regular_file(path, max_bytes=100)
    assert "\x1b" not in str(caught.value)
    expected = {"missing": "is missing", "symbolic link": "is a symbolic link"}.get(kind, "is not a regular file")
    assert expected in str(caught.value)


@posix_only
def test_a_file_that_becomes_a_fifo_between_look_and_open_is_refused(tmp_path, five_seconds, monkeypatch):
    (tmp_path / "file").write_bytes(b"x")
    looks_regular = os.lstat(tmp_path / "file")
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setattr(os, "lstat", lambda path: looks_regular)
    with pytest.raises(ModelError, match="not a regular file"):
        untrusted.read_regular_file(tmp_path / "fifo", max_bytes=100)


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


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[1]",
        b"{",
        b'{"a": 1} x',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b'{"a": "\xff"}',
        b'{"a": 1, "a": 1}',
        b'{"b": {"a": 1, "a": 2}}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
    ],
)
def test_what_parsers_disagree_about_is_refused(data):
    with pytest.raises(ModelError, match=r"^plan\\x1b is not"):
        untrusted.strict_json(data, name="plan\x1b")


def test_ordinary_json_is_read():
    assert untrusted.strict_json(b'{"a": [1, 2.5, null, true], "b": {"c": "\xc3\xa4"}}', name="plan") == {
        "a": [1, 2.5, None, True],
        "b": {"c": "ä"},
    }


def test_names_are_shown_without_control_characters():
    assert printable("a b\x1b[0m\n\u202e\udcff\x9b") == r"a b\x1b[0m\n\u202e\udcff\x9b"
    assert printable(Path("ünïcode")) == "ünïcode"


def test_sha256_of_a_known_text():
    assert untrusted.sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


HOLDER = """
import sys, time
from pathlib import Path
from gru_complete.storage.lock import DirectoryLock
with DirectoryLock(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told_who_holds_the_lock_and_a_killed_holder_frees_it(tmp_path):
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


def test_a_directory_that_is_not_there_cannot_be_locked(tmp_path):
    with pytest.raises(EnvironmentFailure, match="cannot lock"), lock.DirectoryLock(tmp_path / "missing"):
        pass
