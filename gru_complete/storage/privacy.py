"""Directories of ours, closed to other users, and without files that lead to other places.

Somebody else may have made such a directory: it came in an archive, or lay where many can write.
"""

import stat
from pathlib import Path

from gru_complete.errors import ModelError, printable
from gru_complete.storage.os_calls import os_calls, os_reason, refuse_detours, translate_os_errors

_FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def close_to_others(path: Path) -> bool:
    """Take away the permissions that other users have on a file or directory; whether they had any.

    Where the file system has no permissions, or the file is another user's, nothing changes.
    """
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & _FOR_OTHERS:
        return False
    try:
        os_calls.chmod(path, mode & ~_FOR_OTHERS)
    except OSError:
        return False
    return True


def secure_directory(directory: Path) -> None:
    """Close a directory of ours and all in it to other users; refuse what would make us read or write elsewhere.

    For the holder of its lock, before anything else in it is opened: a stranger may have made the directory.

    Raises:
        ModelError: there is a link in it, or a file that is not regular or has another name elsewhere.
        EnvironmentFailure: it cannot be read.
    """
    with translate_os_errors("inspect", directory):
        close_to_others(directory)
        for path in sorted(directory.iterdir()):
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                secure_directory(path)
                continue
            try:
                refuse_detours(status)
            except OSError as error:
                hint = "delete it, or give the model another place with -m"
                raise ModelError(f"cannot use {printable(path)}: {os_reason(error)}", hint=hint) from None
            close_to_others(path)
