"""Train a small recurrent language model on your own text and complete text with it.

    import gru_complete as gru

    model = gru.train("letters.txt", minutes=5)
    print(model.complete("Dear Ms"))

Importing the package imports nothing else: each name below is loaded when it is first used (PEP 562), so that the
command line, which imports the package too, starts no slower.
"""

TYPE_CHECKING = False  # as type checkers understand it: importing typing would take longer than all the rest
if TYPE_CHECKING:
    from gru_complete.api import Model, load, train
    from gru_complete.errors import (
        BusyError,
        ConfigError,
        CorpusError,
        DivergedError,
        EnvironmentFailure,
        GruCompleteError,
        InterruptedRun,
        ModelError,
        UsageError,
    )
    from gru_complete.runtime.draft import Completion
    from gru_complete.runtime.words import Word

__all__ = [
    "BusyError",
    "Completion",
    "ConfigError",
    "CorpusError",
    "DivergedError",
    "EnvironmentFailure",
    "GruCompleteError",
    "InterruptedRun",
    "Model",
    "ModelError",
    "UsageError",
    "Word",
    "load",
    "train",
]

_MODULES = {
    **dict.fromkeys(("load", "train", "Model"), "api"),
    "Completion": "runtime.draft",
    "Word": "runtime.words",
}


def __getattr__(name: str) -> object:
    """Load one of the names above when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The names above, loaded or not."""
    return sorted({*globals(), *__all__})
