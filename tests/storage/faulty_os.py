"""Disks that fail and processes that die, and the operations that must survive it."""

import errno
import os
import shutil
import stat
from pathlib import Path

import pytest

from gru_complete.errors import EnvironmentFailure
from gru_complete.storage import atomic

OLD, NEW = {"manifest.json": b"old", "weights": b"o" * 50}, {"manifest.json": b"new", "weights": b"n" * 60}


DISK_FAULTS = {"ENOSPC": "no space left", "EIO": "input/output error", "EDQUOT": "quota exceeded"}


posix_only = pytest.mark.skipif(os.name == "nt", reason="POSIX file types and signals")


class Crash(BaseException):
    """The process is dead: nothing that it would do from here on reaches the disk."""


class FaultyOs:
    """The system calls of ``os_calls``, of which the one numbered ``at`` goes wrong; ``log`` holds what was called."""

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


def plant(kind: str, path: Path, victim: Path) -> None:
    """Put something at ``path`` that leads to ``victim``, which exists, or to no file at all."""
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "dangling link":
        path.symlink_to(victim.with_name("missing"))
    elif kind == "hard link":
        os.link(victim, path)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind in ("socket", "device"):
        try:
            os.mknod(path, 0o600 | (stat.S_IFSOCK if kind == "socket" else stat.S_IFCHR), os.makedev(1, 5))
        except PermissionError:
            pytest.skip(f"only root may make a {kind} here")
    else:
        path.mkdir()


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


def failure_of(operation, target: Path) -> EnvironmentFailure | None:
    try:
        operation(target)
    except EnvironmentFailure as error:
        return error
    return None


def new_content(name: str):
    return b"new" if "file" in name else NEW


def descriptors_of(calls: FaultyOs):
    """The descriptors that the logged opens gave, in order: each open is followed by calls that name its descriptor."""
    for position, (call, _) in enumerate(calls.log):
        if call == "open":
            yield next(args[0] for name, args in calls.log[position:] if name in ("write", "fsync", "close"))
