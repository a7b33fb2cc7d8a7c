"""The files that a manifest lists: read once, checked against it, and read ahead in threads.

No numpy here: `complete` starts reading while it still imports numpy.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TypeVar

from gru_complete.errors import ModelError, printable
from gru_complete.model.manifest import NGRAMS, WEIGHTS, FileRecord, load_manifest
from gru_complete.storage import atomic, untrusted

_Result = TypeVar("_Result")


class ModelFiles:
    """The files of one version of a model. Reading and hashing the two large ones starts at once, in threads.

    Args:
        path: of the model.

    Attributes:
        directory: where the model is found while directories are swapped.
        manifest: what is known of it.
        fingerprint: the SHA-256 of the manifest.

    Raises:
        ModelError: the manifest is missing, damaged or made by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.directory = atomic.visible_directory(path)
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
    try:
        return ModelFiles(path)
    except ModelError:
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
    """Start some work in a thread; the function returned waits for it and returns its result or raises its error."""
    results: list[_Result] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:
            errors.append(error)

    def result() -> _Result:
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    thread = Thread(target=run, daemon=True)
    thread.start()
    return result
