"""What must not be overwritten, checked before any work starts."""

import os
from collections.abc import Sequence
from pathlib import Path

from gru_complete.errors import UsageError, printable
from gru_complete.model.manifest import MANIFEST
from gru_complete.model.naming import model_argument
from gru_complete.model.run_dir import RunDir
from gru_complete.storage import atomic
from gru_complete.storage.lock import LOCK_FILE


def refuse_nested_paths(sources: Sequence[str], outputs: Sequence[Path]) -> None:
    """Refuse a model inside its corpus, which would then grow, and a corpus inside what is replaced.

    Args:
        sources: files, directories or "-".
        outputs: directories that will be written.

    Raises:
        UsageError: a source and an output are the same, or one contains the other.
    """
    for source in sources:
        text = Path(os.path.realpath(source))
        for output in outputs:
            model = Path(os.path.realpath(output))
            if source != "-" and (text.is_relative_to(model) or model.is_relative_to(text)):
                message = f"the corpus {printable(source)} and the model {printable(output)} lie inside each other"
                raise UsageError(message, hint="give the model another place with -m")


def refuse_foreign_model(model_path: Path) -> None:
    """Refuse to replace a directory that is not a model, whatever ``--replace`` says.

    Raises:
        UsageError: something else is there.
    """
    refuse_foreign_directory(atomic.visible_directory(model_path), marker=MANIFEST)


def refuse_foreign_directory(path: Path, *, marker: str) -> None:
    """Refuse a directory without the file that marks it as ours.

    Raises:
        UsageError: the directory exists and the marker does not.
    """
    if os.path.lexists(path) and not os.path.isfile(path / marker):
        message = f"{printable(path)} exists and was not made by gru-complete"
        raise UsageError(message, hint="give the model another place with -m")


def refuse_foreign_run_dir(run_dir: RunDir) -> None:
    """Refuse a run directory that this program did not make.

    Raises:
        UsageError: something else is there.
    """
    if not run_dir.is_ours():
        refuse_foreign_directory(run_dir.path, marker=LOCK_FILE)


def refuse_existing_model(model_path: Path) -> None:
    """Refuse to replace a model unless the user asked for it.

    Raises:
        UsageError: there is a model already.
    """
    if not os.path.lexists(atomic.visible_directory(model_path)):
        return
    name = model_argument(model_path)
    hint = (
        "to train anew on the text as it is now, add --replace; to add what is new: "
        f"gru-complete train NEW-TEXT --base {name} -m {name} --replace; or give the new model another name with -m"
    )
    raise UsageError(f"the model {printable(model_path)} already exists", hint=hint)
