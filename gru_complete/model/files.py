"""The files that a manifest lists: read once, checked against it, and read ahead in threads.

No numpy here: `complete` starts reading while it still imports numpy.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TypeVar

from gru_complete.errors import ModelError, printable
from gru_complete.model.manifest import NGRAMS, WEIGHTS, FileRecord, load_manifest
from gru_complete.storage import atomic, untrusted
from gru_complete.storage.os_calls import OPEN_FLAGS

_Result = TypeVar("_Result")


class Place:
    """The directory in which a model is found now, kept open: until it is closed, no other one can get its inode.

    So a model that was replaced is told from one that was not, however often it was, and even if by the same bytes.

    Args:
        path: of the model.

    Attributes:
        directory: where the model is found while directories are swapped.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.directory = atomic.visible_directory(path)
        try:
            self._descriptor = os.open(self.directory, os.O_RDONLY | OPEN_FLAGS)
        except OSError:  # it has just gone; or this is Windows, which opens no directories
            self._descriptor = -1
        self._inode = _inode(self.directory)

    def is_still_that_of_the_model(self) -> bool:
        """Whether the model was not replaced meanwhile."""
        directory = atomic.visible_directory(self._path)
        return self._inode is not None and (directory, _inode(directory)) == (self.directory, self._inode)

    def close(self) -> None:
        """Let go of the directory."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _inode(directory: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return status.st_dev, status.st_ino


class ModelFiles:
    """The files of one version of a model. Reading and hashing the two large ones starts at once, in threads.

    Args:
        place: where the model is.

    Attributes:
        place: the same.
        directory: its directory.
        manifest: what is known of it.
        fingerprint: the SHA-256 of the manifest.

    Raises:
        ModelError: the manifest is missing, damaged or made by a newer version.
    """

    def __init__(self, place: Place) -> None:
        self.place, self.directory = place, place.directory
        self.manifest, self.fingerprint = load_manifest(self.directory)
        large = [name for name in (WEIGHTS, NGRAMS) if name in self.manifest.files]
        self._results = {name: start_in_thread(partial(self._read, name)) for name in large}

    def read(self, name: str) -> bytes:
        """The checked bytes of a file that the manifest lists.

        Raises:
            ModelError: it is missing, or not the one that the manifest lists.
        """
        result = self._results.get(name)
        return self._read(name) if result is None else result()

    def _read(self, name: str) -> bytes:
        return read_listed(self.directory, self.manifest.files[name], name)


def read_ahead(path: Path) -> ModelFiles | None:
    """Start reading a model; None if it cannot be read now, of which ``load_model`` will say why."""
    place = Place(path)
    try:
        return ModelFiles(place)
    except ModelError:
        place.close()
        return None


def read_listed(directory: Path, entry: FileRecord, name: str) -> bytes:
    """Read a file and check that it is the one that a manifest lists.

    Raises:
        ModelError: it is missing, cut off or damaged.
    """
    data = untrusted.read_regular_file(directory / name, max_bytes=entry.num_bytes)
    if len(data) != entry.num_bytes:
        raise ModelError(f"{printable(directory / name)} is cut off: {len(data)} of {entry.num_bytes} bytes")
    if untrusted.sha256_hex(data) != entry.sha256:
        raise ModelError(f"{printable(directory / name)} is damaged (sha256 mismatch)", hint="copy the model again")
    return data


def start_in_thread(work: Callable[[], _Result]) -> Callable[[], _Result]:
    """Start some work in a thread; the function returned waits for it and returns its result or raises its error.

    Where the system starts no further thread, the work is done before this returns.
    """
    results: list[_Result] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:
            errors.append(error)

    def result() -> _Result:
        if thread.ident is not None:
            thread.join()
        if errors:
            raise errors[0]
        return results[0]

    thread = Thread(target=run, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        run()
    return result
