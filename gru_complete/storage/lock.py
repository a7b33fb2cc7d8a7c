"""One writer per directory: a lock that the kernel frees when its holder dies."""

import errno
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from gru_complete.errors import BusyError, ModelError, printable
from gru_complete.storage.os_calls import NotOursError, open_in_place, os_calls, translate_os_errors, write_all
from gru_complete.storage.untrusted import strict_json

LOCK_FILE = "lock"
_BEGINNING, _MAX_BYTES = b'{"pid": ', 200


class DirectoryLock:
    """Exclusive use of a directory for one process: a lock on its file ``lock``, which is never deleted.

    The kernel frees the lock when its holder ends, in whatever way, so there are no stale locks. A child made by a bare
    ``fork`` shares it. Network file systems may not enforce it between machines.

    Raises:
        BusyError: another process holds the lock; the message names its process id.
        EnvironmentFailure: the file ``lock`` cannot be opened, is a link or the like, or is another program's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def __enter__(self) -> "DirectoryLock":
        """Take the lock, or raise ``BusyError`` at once."""
        try:
            with translate_os_errors("lock", self.path / LOCK_FILE):
                self._descriptor = open_in_place(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT)
                if not _try_lock(self._descriptor):
                    raise BusyError(f"{printable(self.path)} is in use by {self._holder()}", hint="wait for it to end")
                _refuse_foreign(self._descriptor)
                os.ftruncate(self._descriptor, 0)
                holder = {"pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
                write_all(self._descriptor, json.dumps(holder).encode("utf-8"))
            return self
        except BaseException:  # also when a signal arrives in the middle
            self._free()
            raise

    def __exit__(self, *_: object) -> None:
        """Free the lock."""
        self._free()

    def is_in_place(self) -> bool:
        """Whether the lock is that of the directory: it is not if that was removed before the lock was taken."""
        with suppress(OSError):
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self.path / LOCK_FILE))
        return False

    def _free(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):  # the lock is free whatever close says, and what was written is a courtesy
                os_calls.close(descriptor)

    def _holder(self) -> str:
        """Who holds the lock, as its file says."""
        with suppress(ModelError, KeyError, TypeError, ValueError):  # the file may be new and still empty
            holder = strict_json(os.read(self._descriptor, _MAX_BYTES), name=LOCK_FILE)
            return f"process {int(holder['pid'])} since {printable(str(holder['since']))[:40]}"
        return "another process"


def _refuse_foreign(descriptor: int) -> None:
    """Refuse to overwrite another program's file that has the same name.

    Raises:
        NotOursError: it is none of ours.
    """
    content = os.read(descriptor, _MAX_BYTES + 1)
    os.lseek(descriptor, 0, os.SEEK_SET)
    is_blank = not content.strip(b"\0")  # zeros: as a failure of power may leave it
    if len(content) > _MAX_BYTES or not (is_blank or content.startswith(_BEGINNING)):
        raise NotOursError(errno.EINVAL, "another program made it")


def _try_lock(descriptor: int) -> bool:
    """Lock a file without waiting; False if another process holds the lock."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(
                descriptor, 1 << 30, os.SEEK_SET
            )  # far beyond the content: on Windows a lock also keeps readers out
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)
    return True
