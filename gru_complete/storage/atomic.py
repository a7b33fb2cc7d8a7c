"""Durable writes and directory swaps. With ``lock``, the only module that writes to disk.

A save is visible either whole or not at all, whenever the process is killed or the power fails. A file is written under
a temporary name beside its target, synced to the disk, renamed, and the rename is synced. A failed sync is never
repeated: the kernel may have dropped the data and then report success (fsyncgate, PostgreSQL 2018).

Three kinds of names appear beside a target NAME. ``.tmp-NAME-xxxxxxxx`` is rubbish unless its writer still runs.
``.old-NAME`` is the directory that a swap moved aside; readers use it as NAME while NAME does not exist.
``.tmp-removed`` holds what is being removed, and is rubbish always.

All that is made here is for its owner alone (``FILE_MODE``, ``DIRECTORY_MODE``): nearly all of it holds text.
"""

import errno
import glob
import io
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from gru_complete.errors import EnvironmentFailure, printable
from gru_complete.storage.os_calls import (
    DIRECTORY_MODE,
    DISK_FULL_HINT,
    FILE_MODE,
    OPEN_FLAGS,
    open_in_place,
    os_calls,
    os_reason,
    translate_os_errors,
    write_all,
)

_BUFFER_BYTES = 1 << 20
_REMOVED = ".tmp-removed"
_REMOVE_ATTEMPTS = 10
# Windows only: a virus scanner holds new files open for a moment, and a rename then fails.
_REPLACE_DELAYS_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8) if os.name == "nt" else ()


def write_file(path: Path, data: bytes, *, follows: bool = False) -> None:
    """Write a file durably and atomically: readers see either the old content or all of the new.

    Args:
        path: the file; a link there is replaced by it.
        data: its content.
        follows: replace the target of a link instead, where it is the user who names the file.

    Raises:
        EnvironmentFailure: the disk is full or refuses the write; the old file is unchanged.
    """
    with open_stream(path, follows=follows) as stream:
        stream.write(data)


@contextmanager
def open_stream(path: Path, *, follows: bool = False) -> Iterator[BinaryIO]:
    """Open a file for writing; it appears under its name, durably, when the block ends without an error.

    Args:
        path: the file; a link there is replaced by it.
        follows: replace the target of a link instead, where it is the user who names the file.

    Raises:
        EnvironmentFailure: the disk is full or refuses the write, at any time; the old file is unchanged.
    """
    with translate_os_errors("write", path):
        target = path
        if follows or not path.is_symlink():
            target = _real_target(path, stat.S_ISREG, "a regular file")
        temporary = _temporary_beside(target)
        descriptor = os_calls.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | OPEN_FLAGS, FILE_MODE)
    try:
        raw = _RawFile(descriptor, path)
        with io.BufferedWriter(raw, _BUFFER_BYTES) as stream:
            try:
                yield stream
            except BaseException:
                raw.discard = True
                raise
        with translate_os_errors("write", path):
            _replace(temporary, target)
            _sync_directory(target.parent)
    except BaseException:
        with suppress(OSError):
            os_calls.unlink(temporary)
        raise


class _RawFile(io.FileIO):
    """The unbuffered end of a stream: whole writes, then sync and close, all through ``os_calls``."""

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self.descriptor = descriptor
        self.path = path
        self.discard = False  # after an error: drop what the buffer still holds

    def write(self, data: Any, /) -> int:
        """Write all of the data; after a failed write, pretend to."""
        if not self.discard:
            self.discard = True
            with translate_os_errors("write", self.path):
                write_all(self.descriptor, data)
            self.discard = False
        return memoryview(data).nbytes

    def close(self) -> None:
        """Sync and close; after an error only close, without another error."""
        if self.closed:
            return
        super().close()
        with suppress(OSError) if self.discard else translate_os_errors("write", self.path):
            try:
                if not self.discard:
                    os_calls.fsync(self.descriptor)
            finally:
                os_calls.close(self.descriptor)


def append_line(path: Path, line: str) -> None:
    """Append one line to a log in one write; not synced, since a log is not worth waiting for.

    Raises:
        EnvironmentFailure: the disk is full or refuses the write, or the log is a link or no regular file.
    """
    with translate_os_errors("write", path):
        descriptor = open_in_place(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            write_all(descriptor, (line.rstrip("\n") + "\n").encode("utf-8"))
        finally:
            os_calls.close(descriptor)


def remove_file(path: Path) -> None:
    """Remove a file, if it exists.

    Raises:
        EnvironmentFailure: it exists and cannot be removed.
    """
    with translate_os_errors("remove", path), suppress(FileNotFoundError):
        os_calls.unlink(path)


def make_directory(path: Path) -> None:
    """Create a directory and its parents, durably, if it does not exist.

    Raises:
        EnvironmentFailure: a file is in the way, or the disk refuses.
    """
    if path.is_dir():
        return
    if path.parent != path:
        make_directory(path.parent)
    with translate_os_errors("create", path):
        with suppress(FileExistsError):
            os_calls.mkdir(path, DIRECTORY_MODE)
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "a file is in the way")
        _sync_directory(path.parent)


@contextmanager
def new_directory(target: Path) -> Iterator[Path]:
    """Fill a temporary directory beside ``target``; it gets the target's name, durably, when the block succeeds.

    Yields:
        The temporary directory; write the manifest into it last.

    Raises:
        EnvironmentFailure: the disk is full or refuses the write, or ``target`` exists; nothing new is visible.
    """
    with _filled_directory(target, may_exist=False) as temporary:
        yield temporary


@contextmanager
def replace_directory(target: Path) -> Iterator[Path]:
    """Like ``new_directory``, but an existing target is swapped for the new one and then deleted.

    The swap takes two renames: a kill between them leaves the old directory under ``.old-NAME``, where
    ``visible_directory`` finds it until ``recover_directory`` puts it back. The caller holds the lock of the target.

    Yields:
        The temporary directory.

    Raises:
        EnvironmentFailure: the disk is full or refuses the write; the old directory is then back in its place.
    """
    with translate_os_errors("write", target):
        target = _real_target(target, stat.S_ISDIR, "a directory")
    recover_directory(target)
    with _filled_directory(target, may_exist=True) as temporary:
        yield temporary
    if os.path.lexists(_aside(target)):
        with suppress(OSError):  # the new directory is safe; recover_directory will try again
            _remove(_aside(target))


@contextmanager
def _filled_directory(target: Path, *, may_exist: bool) -> Iterator[Path]:
    """Yield a temporary directory; then sync it and rename it to the target, or undo everything on an error."""
    temporary = _temporary_beside(target)
    with translate_os_errors("write", target):
        os_calls.mkdir(temporary, DIRECTORY_MODE)
    try:
        yield temporary
        with translate_os_errors("write", target):
            _sync_tree(temporary)
            if os.path.lexists(target):
                if not may_exist:  # rename() would silently replace an empty directory
                    raise FileExistsError(errno.EEXIST, "it exists already")
                _replace(target, _aside(target))
            _replace(temporary, target)
            _sync_directory(target.parent)
    except BaseException:
        with suppress(OSError):
            _undo_swap(target)
        with suppress(OSError):
            _remove_tree(temporary)
        raise


def visible_directory(target: Path) -> Path:
    """Where a reader finds ``target``: in its place, or moved aside by a swap that is under way or was interrupted."""
    real = Path(os.path.realpath(target))
    return _aside(real) if not os.path.lexists(real) and _is_directory(_aside(real)) else target


def recover_directory(target: Path) -> None:
    """Finish or undo an interrupted swap of ``target``, and delete its temporaries. Only the holder of its lock may.

    Raises:
        EnvironmentFailure: the old directory could not be put back or deleted.
    """
    target = Path(os.path.realpath(target))
    with translate_os_errors("recover", target):
        _undo_swap(target)
        if os.path.lexists(_aside(target)):
            _remove(_aside(target))
    _sweep(target.parent, f".tmp-{glob.escape(target.name)}-{'[0-9a-f]' * 8}")
    _sweep(target.parent, _REMOVED)


def remove_directory(path: Path) -> None:
    """Delete a directory; what a kill or an error leaves of it is for ``finish_removals``.

    Raises:
        EnvironmentFailure: there is no such directory, or it could not be deleted.
    """
    with translate_os_errors("remove", path):
        if path.is_symlink():
            raise NotADirectoryError(errno.ENOTDIR, "it is a symbolic link, not a directory")
        recover_directory(path)
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "not a directory")
        _remove(path)


def finish_removals(directory: Path) -> None:
    """Delete what removals that were killed or failed have left in a directory; any process may, at any time.

    Raises:
        EnvironmentFailure: something could not be deleted.
    """
    removed = directory / _REMOVED
    if not os.path.lexists(removed):
        return
    try:
        _remove_tree(removed)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:  # then another process has just added something, which it will delete
            message = f"cannot remove all of {printable(removed)}: {os_reason(error)}"
            raise EnvironmentFailure(message, hint="delete it by hand: it may hold the text of a model") from error


def sweep_temporaries(directory: Path) -> None:
    """Delete what crashes have left in a directory. Only for the holder of its lock: live temporaries go too."""
    _sweep(directory, ".tmp-*")


def check_writable(directory: Path, *, needed_bytes: int) -> None:
    """Check before the work starts that files can be written in ``directory`` and have room.

    Raises:
        EnvironmentFailure: they cannot, or fewer than ``needed_bytes`` are free.
    """
    probe = directory / f".tmp-probe-{os.urandom(4).hex()}"
    write_file(probe, b"probe")
    remove_file(probe)
    with translate_os_errors("inspect", directory):
        free_bytes = shutil.disk_usage(directory).free
    if free_bytes < needed_bytes:
        message = f"not enough disk space: needs {needed_bytes / 1e6:,.0f} MB, {free_bytes / 1e6:,.0f} MB free"
        raise EnvironmentFailure(f"{message} on {printable(directory)}", hint=DISK_FULL_HINT)


def _temporary_beside(target: Path) -> Path:
    return target.parent / f".tmp-{target.name}-{os.urandom(4).hex()}"


def _is_directory(path: Path) -> bool:
    """Whether it is a directory, not a link to one that somebody has put there."""
    return os.path.isdir(path) and not os.path.islink(path)


def _aside(target: Path) -> Path:
    return target.parent / f".old-{target.name}"


def _real_target(path: Path, is_kind: Any, kind: str) -> Path:
    """Follow links, so that the target of a link is replaced, not the link; refuse to replace, say, /dev/null."""
    with suppress(FileNotFoundError):
        if not is_kind(os.stat(path).st_mode):
            raise OSError(errno.EINVAL, f"it is not {kind}")
    return Path(os.path.realpath(path))


def _replace(source: Path, target: Path) -> None:
    """Rename, again after a while where a virus scanner holds the file open."""
    for delay_seconds in _REPLACE_DELAYS_SECONDS:
        try:
            return os_calls.replace(source, target)
        except PermissionError:
            time.sleep(delay_seconds)
    return os_calls.replace(source, target)


def _sync(path: Path, flags: int) -> None:
    descriptor = os_calls.open(path, flags | OPEN_FLAGS)
    try:
        os_calls.fsync(descriptor)
    finally:
        os_calls.close(descriptor)


def _sync_directory(directory: Path) -> None:
    """Make renames in a directory durable, where the system can; Windows and some network file systems cannot."""
    try:
        _sync(directory, os.O_RDONLY)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EACCES):
            raise


def _sync_tree(directory: Path) -> None:
    for path in sorted(directory.iterdir()):
        if path.is_dir():
            _sync_tree(path)
        else:
            _sync(path, os.O_RDWR)  # Windows syncs only what is open for writing
    _sync_directory(directory)


def _undo_swap(target: Path) -> None:
    if not os.path.lexists(target) and _is_directory(_aside(target)):
        _replace(_aside(target), target)
        _sync_directory(target.parent)


def _remove(path: Path) -> None:
    """Delete a directory: first it is moved to ``.tmp-removed``, so that half of it is never seen under its name."""
    removed = path.parent / _REMOVED
    rubbish = removed / f"{path.name}-{os.urandom(4).hex()}"
    try:
        _move_into(removed, path, rubbish)
        with suppress(FileNotFoundError):  # another process has just deleted all of it
            _sync_directory(removed)
        _sync_directory(path.parent)
        _remove_tree(rubbish)
    except OSError as error:
        where = f"; what is left of it is in {removed}" if os.path.lexists(rubbish) else ""
        raise OSError(error.errno, f"{os_reason(error)}{where}") from error
    finally:
        with suppress(OSError):  # unless something else is in it
            os_calls.rmdir(removed)


def _move_into(removed: Path, path: Path, rubbish: Path) -> None:
    """Move a directory to ``rubbish``, which is in ``removed``; that may be made or deleted meanwhile."""
    for attempts_left in reversed(range(_REMOVE_ATTEMPTS)):
        with suppress(FileExistsError):
            os_calls.mkdir(removed, DIRECTORY_MODE)
        if removed.is_symlink():
            raise NotADirectoryError(errno.ENOTDIR, f"{removed} is a symbolic link")
        try:
            return _replace(path, rubbish)
        except FileNotFoundError:  # another process has just deleted the empty .tmp-removed
            if not attempts_left or not os.path.lexists(path):
                raise
    return None


def _remove_tree(path: Path) -> None:
    """Delete all that can be deleted, files before directories; another process may be doing the same.

    Raises:
        OSError: the first that was met; the rest is deleted nevertheless.
    """
    with suppress(FileNotFoundError):
        if not stat.S_ISDIR(path.lstat().st_mode):
            return os_calls.unlink(path)
        errors: list[OSError] = []
        for child in sorted(path.iterdir(), key=lambda child: (child.is_dir(), child)):
            try:
                _remove_tree(child)
            except OSError as error:
                errors.append(error)
        if errors:
            raise errors[0]
        os_calls.rmdir(path)
    return None


def _sweep(directory: Path, pattern: str) -> None:
    for path in sorted(directory.glob(pattern)):
        with suppress(OSError):  # rubbish that cannot be deleted is no reason to stop
            _remove_tree(path)
