"""One writer of a model at a time: whoever trains ``NAME`` holds the lock of ``NAME.run`` meanwhile."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from gru_complete.errors import BusyError, EnvironmentFailure, GruCompleteError, printable
from gru_complete.model.run_dir import RunDir
from gru_complete.storage import atomic, privacy
from gru_complete.storage.lock import DirectoryLock


@contextmanager
def exclusive_use(run_dir: RunDir) -> Iterator[None]:
    """Make a run directory, unless it is there, and lock it; afterwards, remove it unless it holds a plan to resume.

    Raises:
        ModelError: it is a link.
        BusyError: another process is using it.
        EnvironmentFailure: it cannot be made.
    """
    run_dir.refuse_link()
    is_made = has_begun = False
    may_remove = not run_dir.path.exists()
    try:
        atomic.make_directory(run_dir.path)
        is_made = True
        with DirectoryLock(run_dir.path) as lock:
            if not lock.is_in_place():
                raise BusyError(f"{printable(run_dir.path)} was just removed by another process", hint="try again")
            privacy.secure_directory(run_dir.path)
            may_remove = True
            has_begun = True
            yield
    except EnvironmentFailure:
        if has_begun or not is_made or os.path.lexists(run_dir.path):
            raise
        raise BusyError(f"{printable(run_dir.path)} was just removed by another process", hint="try again") from None
    finally:
        if may_remove:
            _remove_unless_planned(run_dir)


def _remove_unless_planned(run_dir: RunDir) -> None:
    """Remove a run directory that could not be resumed, unless another process is using it by now."""
    if run_dir.plan_path.exists():
        return
    with suppress(GruCompleteError), DirectoryLock(run_dir.path) as lock:
        if lock.is_in_place() and not run_dir.plan_path.exists():
            atomic.remove_directory(run_dir.path)
