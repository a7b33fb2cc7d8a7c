"""The system calls that change the disk, and their errors in the user's words."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gru_complete.errors import EnvironmentFailure, printable

DISK_FULL_HINT = "free some space, or let GRU_COMPLETE_HOME name a directory on another disk"
OPEN_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Flags of every ``os.open``: children do not inherit the file, and Windows does not translate line ends."""
CAREFUL_FLAGS = OPEN_FLAGS | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""Flags to open what a stranger may have put there: no link is followed, and no FIFO is waited for."""
FILE_MODE, DIRECTORY_MODE = 0o600, 0o700
"""Permissions of all that is made: nearly all of it holds text, and nobody but its owner may read that."""


class NotOursError(OSError):
    """What has a name of ours was made by somebody else."""


class OsCalls:
    """The system calls that change the disk, in one place so that a test can make each of them fail."""

    open = staticmethod(os.open)
    write = staticmethod(os.write)
    fsync = staticmethod(os.fsync)
    close = staticmethod(os.close)
    replace = staticmethod(os.replace)
    mkdir = staticmethod(os.mkdir)
    unlink = staticmethod(os.unlink)
    rmdir = staticmethod(os.rmdir)
    chmod = staticmethod(os.chmod)


os_calls = OsCalls()


@contextmanager
def translate_os_errors(verb: str, path: Path) -> Iterator[None]:
    """Turn the ``OSError`` of a block into "cannot VERB PATH: reason".

    Raises:
        EnvironmentFailure: in place of any ``OSError``; with a hint where the disk is full or a file is not ours.
    """
    try:
        yield
    except OSError as error:
        hint = DISK_FULL_HINT if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
        if isinstance(error, NotOursError):
            hint = "gru-complete did not make it: see what it is, and delete it or give the model another place"
        raise EnvironmentFailure(f"cannot {verb} {printable(path)}: {os_reason(error)}", hint=hint) from error


def os_reason(error: OSError) -> str:
    """What the system says of an error, in lower case to follow a colon: "no space left on device"."""
    text = error.strerror or str(error)
    return printable(text[:1].lower() + text[1:])


def is_shortage(error: Exception) -> bool:
    """Whether the machine has too little of something, so that the file itself may be fine."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def open_in_place(path: Path, flags: int) -> int:
    """Open a file to change it where it is, and not another one in its stead; create it if the flags say so.

    Raises:
        OSError: as ``os.open``.
        NotOursError: it is a link, has a second name, or is not a regular file.
    """
    with suppress(FileNotFoundError):
        refuse_detours(os.lstat(path))  # before open(), which may rewind a tape
    descriptor = os_calls.open(path, flags | CAREFUL_FLAGS, FILE_MODE)
    try:
        refuse_detours(os.fstat(descriptor))
    except OSError:
        os_calls.close(descriptor)
        raise
    return descriptor


def refuse_detours(status: os.stat_result) -> None:
    """Refuse a file through which another one would be written, or another program.

    Raises:
        NotOursError: it is a link, has a second name, or is not a regular file.
    """
    problem = not_regular(status)
    if problem is None and status.st_nlink > 1:
        problem = "a file with another name elsewhere (a hard link)"
    if problem is not None:
        raise NotOursError(errno.EINVAL, f"it is {problem}")


def not_regular(status: os.stat_result) -> str | None:
    """What a file is, if it is not a regular one."""
    if stat.S_ISREG(status.st_mode):
        return None
    return "a symbolic link" if stat.S_ISLNK(status.st_mode) else "not a regular file"


def write_all(descriptor: int, data: Any) -> None:
    """Write all bytes of a buffer, however many calls that takes.

    Raises:
        OSError: as ``os.write``, or where it accepts no byte at all.
    """
    view = memoryview(data).cast("B")
    while view:
        written = os_calls.write(descriptor, view)  # tried again by Python itself when a signal interrupts it
        if written <= 0:
            raise OSError(errno.EIO, "nothing was written")
        view = view[written:]
