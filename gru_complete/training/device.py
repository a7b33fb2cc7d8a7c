"""The device that training runs on, and the memory that it takes."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

from gru_complete.errors import EnvironmentFailure


def choose_device(wish: str) -> torch.device:
    """The device for a wish of "auto", "cpu" or "cuda".

    Raises:
        EnvironmentFailure: a GPU is wished for and there is none.
    """
    if wish == "cuda" and not torch.cuda.is_available():
        raise EnvironmentFailure("no CUDA device is available", hint="use --device auto or cpu")
    return torch.device("cuda" if wish != "cpu" and torch.cuda.is_available() else "cpu")


@contextmanager
def out_of_memory_hint() -> Iterator[None]:
    """Turn the errors for exhausted memory into one that says which setting to lower.

    Raises:
        EnvironmentFailure: in place of the errors that Python, torch's CPU allocator and CUDA raise.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        is_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
        if not is_memory:
            raise
        hint = "try a smaller --set training.batch_size or model.hidden_size, with --replace"
        raise EnvironmentFailure("out of memory in training", hint=hint) from None


def return_freed_memory() -> None:
    """Make glibc return freed memory to the system, hundreds of MB after counting; elsewhere this does nothing."""
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
