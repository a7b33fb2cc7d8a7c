"""The model that continues text, and what must be said before numpy is imported."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from gru_complete.errors import UsageError

if TYPE_CHECKING:
    from gru_complete.runtime.completer import Completer


def use_one_thread() -> None:
    """Keep numpy's matrix library to one thread; it reads this once, when numpy is imported.

    So it starts quicker, is quicker on one row, and gives the same bits on every machine.
    """
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"


def load_completer(path: Path, adapt: bool | None) -> "Completer":
    """Load a model; ``adapt`` says whether it shall learn from what it reads, None that it does where it gains.

    Raises:
        ModelError: the directory is no model or a damaged one.
        UsageError: it shall learn, and cannot.
    """
    from gru_complete.runtime.completer import Completer

    completer = Completer.load(path, adapts=adapt)
    if adapt and completer.predictor.mixture is None:
        raise UsageError("--adapt: this model has no counts to lay new ones over", hint="train without ngrams.order=0")
    return completer
