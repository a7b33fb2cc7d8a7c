"""Loading the model that continues text, and what must be set before numpy is imported."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gru_complete.errors import EnvironmentFailure, UsageError

if TYPE_CHECKING:
    from gru_complete.cli.console import Console
    from gru_complete.model.files import ModelFiles
    from gru_complete.runtime.completer import Completer


NUMPY_BYTES, TORCH_BYTES = 300 << 20, 1 << 30
"""The address space that commands with numpy alone and with torch take, besides what Python takes; most is not used."""


def require_address_space(num_bytes: int) -> None:
    """Refuse to work under a limit of the address space (``ulimit -v``) that leaves less than this.

    The C libraries under numpy and torch end the process themselves where they are refused memory, with exit code 1
    or by a signal.

    Raises:
        EnvironmentFailure: there is such a limit.
    """
    try:
        bytes(num_bytes)  # takes microseconds: pages of zeros are not there before they are touched
    except MemoryError:
        limit = _address_space_limit()
        if limit is not None:  # otherwise it is a small machine, where less may do
            needed = f"about {num_bytes / 1e6:.0f} MB more than Python itself"
            message = f"the address space is limited to {limit / 1e6:.0f} MB; this command needs {needed}"
            raise EnvironmentFailure(message, hint="raise the limit: ulimit -v unlimited") from None


def _address_space_limit() -> int | None:
    """The limit of this process in bytes, if it has one."""
    if sys.platform == "win32":
        return None
    import resource  # here, since it is rarely needed

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def use_one_thread() -> None:
    """Keep numpy's matrix library to one thread; it reads these variables once, when numpy is imported.

    With one thread it starts faster, is faster on a single row, and gives the same bits on every machine.
    """
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"


def choose_model(console: "Console", option: str | None) -> Path:
    """The directory of the model to use; on a terminal, a word about the built-in one if there is no other yet.

    Args:
        console: where to say it.
        option: the name or path that the user gave.

    Raises:
        ModelError: there is no such model.
        UsageError: this cannot be the name of a model.
        EnvironmentFailure: a directory on the way to it cannot be read.
    """
    from gru_complete.model.home import BUILT_IN, built_in_model, find_model  # here, since `--help` needs no model

    path = find_model(option)
    if option is None and path == built_in_model() and console.is_animated:
        what = f"you have not trained a model yet: this is the built-in one, '{BUILT_IN}'"
        console.note(f"{what}; it learns from your text with: gru-complete train YOUR-TEXT")
    return path


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Import and load without looking for garbage, of which that makes none; nor is it looked for there afterwards."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # otherwise the next collection walks through everything after all
        gc.enable()


def start_reading(path: Path) -> "ModelFiles | None":
    """Start reading and hashing a model in threads, and import numpy meanwhile.

    Args:
        path: its directory.
    """
    from gru_complete.model.files import read_ahead

    files = read_ahead(path)
    import numpy  # noqa: F401  (before anything else, so that nothing else waits for the threads)

    return files


def load_completer(
    path: Path, *, learns: bool | None, is_novel: bool = False, files: "ModelFiles | None" = None
) -> "Completer":
    """Load a model for completing.

    Args:
        path: its directory.
        learns: whether it learns phrases from the prompt; None: if the model is known to predict better with it.
        is_novel: whether it will be asked not to reproduce its training text, which it then has to have.
        files: its files, if reading them has started already.

    Raises:
        ModelError: the directory is no model or a damaged one.
        UsageError: the model cannot learn, or its training text is missing.
    """
    from gru_complete.runtime.completer import Completer

    completer = Completer.load(path, adapts=learns, files=files)
    if learns and completer.predictor.mixture is None:
        message = "--learn-from-prompt: this model has no n-gram model, which is what learns"
        raise UsageError(message, hint="train a model without ngrams.order=0")
    if is_novel:
        from gru_complete.model.corpus_words import corpus_words

        completer = completer.with_corpus(corpus_words(path, completer.tokenizer))
    return completer
