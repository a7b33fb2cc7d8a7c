"""The system calls that change the disk, and their errors in the user's words."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gru_complete.errors import EnvironmentFailure, printable

DISK_FULL_HINT = "free some space, or let GRU_COMPLETE_HOME name a directory on another disk"
OPEN_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Flags of every ``os.open``: children do not inherit the file, and Windows does not translate line ends."""


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


os_calls = OsCalls()


@contextmanager
def translate_os_errors(verb: str, path: Path) -> Iterator[None]:
    """Turn the ``OSError`` of a block into "cannot VERB PATH: reason".

    Raises:
        EnvironmentFailure: in place of any ``OSError``; with a hint where the disk is full.
    """
    try:
        yield
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        message = f"cannot {verb} {printable(path)}: {os_reason(error)}"
        raise EnvironmentFailure(message, hint=DISK_FULL_HINT if is_full else None) from error


def os_reason(error: OSError) -> str:
    """What the system says of an error, in lower case to follow a colon: "no space left on device"."""
    text = error.strerror or str(error)
    return printable(text[:1].lower() + text[1:])


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
