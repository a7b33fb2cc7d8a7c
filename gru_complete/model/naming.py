"""Model names: the directory of those with a name only, the default name, and how to spell one in a command to try."""

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from gru_complete.errors import EnvironmentFailure, UsageError, printable, shell_word

MAX_NAME_BYTES = 80


def models_home() -> Path:
    """The directory that holds the models that have a name only.

    Raises:
        EnvironmentFailure: the user has no home directory.
    """
    home = os.environ.get("GRU_COMPLETE_HOME")
    if not home:
        from platformdirs import user_data_dir  # here, since it is slow to import and rarely needed

        home = user_data_dir("gru-complete", appauthor=False)
        if not os.path.isabs(home):
            message = "there is no home directory to keep models in"
            raise EnvironmentFailure(message, hint="let GRU_COMPLETE_HOME name a directory")
    return Path(expanded(home)) / "models"


def expanded(path: str) -> str:
    """A path without a leading ``~`` or ``~user``.

    Raises:
        UsageError: there is no such home directory; ``./~`` is a directory of that name.
    """
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise UsageError(f"{repr(path)[:60]}: no such home directory", hint=f"or did you mean ./{printable(path)}?")
    return expanded


def default_model_name(corpus: Sequence[str]) -> str:
    """The default name of a new model: that of the one file or folder it is trained on, shortened if need be.

    Whether the file exists is checked later, by the reader of the corpus.

    Raises:
        UsageError: there are several sources, or a pipe, or no letter of the name may occur in a model name.
    """
    if len(corpus) != 1 or corpus[0] == "-" or _is_fifo(corpus[0]):
        raise UsageError("no model name given", hint="name it with -m NAME")
    from gru_complete.text.letters import mark_class  # here, since only new models need a name

    path = Path(os.path.realpath(corpus[0]))
    name = re.sub(rf"[^\w.{mark_class()}-]+", "-", path.name if os.path.isdir(path) else path.stem).strip("-.")
    name = name.encode()[:MAX_NAME_BYTES].decode(errors="ignore").rstrip("-.")
    if not name:
        raise UsageError(f"cannot derive a model name from {corpus[0]!r}", hint="name it with -m NAME")
    return name


def _is_fifo(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):  # no file, no permission, or a text too long to be a path
        return False


def model_argument(path: Path) -> str:
    """What to write after ``-m`` in a shell: the name of a model in the models' home, else a path that shows as one."""
    if path.parent == models_home():
        return shell_word(path.name)
    return shell_word(path if path.is_absolute() or path.parts[0] == ".." else os.path.join(".", path))
