"""Models by name: where they live, which was trained last, how they are removed."""

import os
from contextlib import suppress
from pathlib import Path

from gru_complete.errors import EnvironmentFailure, ModelError, UsageError, printable, shell_word
from gru_complete.model.manifest import (
    FORMAT,
    MANIFEST,
    has_manifest,
    is_model_name,
    load_manifest,
    read_manifest_bytes,
)
from gru_complete.model.naming import expanded, model_argument, models_home
from gru_complete.storage import atomic, privacy, untrusted
from gru_complete.storage.os_calls import translate_os_errors
from gru_complete.storage.untrusted import short_repr

BUILT_IN = "english"
"""The model that comes with the program: it has read general English (docs/base.md)."""
BUILT_IN_MODELS = Path(__file__).parents[1] / "base"
"""The directory that holds it."""
_TRAIN_HINT = "train one with: gru-complete train CORPUS"


def resolve_model_path(name_or_path: str) -> Path:
    """The path of a model that exists or will: a path if it has a separator, else a name under ``models_home()``.

    A path may begin with ``~``, which a shell does not replace inside quotes, nor after ``--model=``.

    Raises:
        UsageError: the name looks like a hidden file, an option or a run directory, or the path does not end in a name,
            or in one so long that names with a suffix would be too long.
    """
    if "/" in name_or_path or os.sep in name_or_path:
        name_or_path = expanded(name_or_path)
        name = os.path.basename(name_or_path.rstrip(f"/{os.sep}"))
        if name in ("", ".", "..") or len(os.fsencode(name)) > 200:
            message = f"{short_repr(name_or_path)} cannot be the place of a model"
            raise UsageError(message, hint="end the path with the name of the model, as in ./novel")
        return Path(name_or_path)
    if not is_model_name(name_or_path):
        message = f"{short_repr(name_or_path)} cannot be the name of a model"
        raise UsageError(message, hint="use letters, digits, '-' and '_'; a path contains a '/'")
    return models_home() / name_or_path


def find_model(option: str | None) -> Path:
    """The model that a command shall use: the option's, else ``$GRU_COMPLETE_MODEL``'s, else the one trained last.

    Before any was trained it is the built-in one, which can also be named; the user's model of that name goes first.

    Raises:
        ModelError: there is no such model.
        UsageError: this cannot be the name of a model.
        EnvironmentFailure: a directory on the way to it cannot be read.
    """
    name = option if option is not None else os.environ.get("GRU_COMPLETE_MODEL") or None
    if name is None:
        name = _last_trained()
        if name is None:
            if not has_manifest(built_in_model()):
                raise ModelError("no model has been trained yet", hint=_TRAIN_HINT)
            return built_in_model()
    path = resolve_model_path(name)
    with suppress(EnvironmentFailure):
        atomic.finish_removals(path.parent)
    if not has_manifest(path):
        if name == BUILT_IN and not os.path.lexists(path) and has_manifest(built_in_model()):
            return built_in_model()
        with translate_os_errors("read", path), suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(path / MANIFEST)
        if os.path.isdir(path):
            load_manifest(path)  # which says what is wrong
        raise ModelError(f"no model named '{printable(name)}'", hint=f"{_TRAIN_HINT} -m {shell_word(name)}")
    return path


def built_in_model() -> Path:
    """The directory of the model that comes with the program."""
    return BUILT_IN_MODELS / BUILT_IN


def close_home(model_path: Path) -> bool:
    """Close ``models_home()`` to other users, if a model goes there; whether it was open to them.

    It may be older than the rule that all of it is for its owner alone, and so may the models in it.
    """
    home = models_home()
    return model_path.parent == home and home.is_dir() and privacy.close_to_others(home)


def remember_last(path: Path) -> None:
    """Note which model was trained last, for commands without ``-m``.

    Raises:
        EnvironmentFailure: the disk is full or refuses the write.
    """
    home = models_home()
    name = path.name if path.parent == home else os.path.abspath(path)
    atomic.make_directory(home)
    atomic.write_file(home / "last", os.fsencode(name))


def _last_trained() -> str | None:
    """The name or the absolute path of the model that was trained last, if any."""
    path = models_home() / "last"
    with translate_os_errors("read", path):
        try:
            os.lstat(path)
        except FileNotFoundError:
            return None
    return os.fsdecode(untrusted.read_regular_file(path, max_bytes=10_000))


def list_models() -> list[Path]:
    """The finished models under ``models_home()``, sorted by name.

    Raises:
        EnvironmentFailure: that directory cannot be read.
    """
    home = models_home()
    with translate_os_errors("read", home):
        try:
            paths = sorted(home.iterdir())
        except FileNotFoundError:
            return []
    with suppress(EnvironmentFailure):
        atomic.finish_removals(home)
    return [path for path in paths if not path.name.startswith(".") and has_manifest(path)]


def remove_model(path: Path, *, run_only: bool) -> None:
    """Delete a model and its run directory, or the run directory only, which holds the corpus as tokens.

    Raises:
        ModelError: there is no model or run directory at this path. Nothing else is ever deleted.
        BusyError: a training is using the run directory.
        EnvironmentFailure: the disk is full or refuses the write.
    """
    from gru_complete.model.run_dir import RunDir  # here, since finding a model need not wait for numpy

    run_dir = RunDir.beside(path)
    run_dir.refuse_link()
    atomic.finish_removals(path.parent)
    if not run_dir.is_ours() and not os.path.lexists(atomic.visible_directory(path)):
        with translate_os_errors("remove", path), suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(path)
        raise ModelError(
            f"no model named '{printable(path.name if path.parent == models_home() else path)}'",
            hint="see: gru-complete models list",
        )
    if not run_only and not has_manifest(path) and run_dir.is_ours():
        hint = f"remove it with: gru-complete models remove {model_argument(path)} --run"
        raise ModelError(f"{printable(path)} has only an unfinished training", hint=hint)
    if not run_only:
        manifest = untrusted.strict_json(
            read_manifest_bytes(atomic.visible_directory(path)), name=printable(path / MANIFEST)
        )
        if manifest.get("format") != FORMAT:
            raise ModelError(f"{printable(path)} is not a gru-complete model")
    if run_only or run_dir.is_ours():
        run_dir.remove()
    atomic.recover_directory(run_dir.path)  # versions before .tmp-removed left the text in .tmp-NAME.run-xxxxxxxx
    if run_only:
        atomic.recover_directory(path)  # of which a training that was killed may have left the half
    else:
        atomic.remove_directory(path)
