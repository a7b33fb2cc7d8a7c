"""`models`: list, show and remove trained models."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gru_complete.cli.help import GroupedCommand, HelpfulGroup
from gru_complete.cli.options import MODEL_HELP
from gru_complete.cli.output import json_line
from gru_complete.errors import GruCompleteError, printable

if TYPE_CHECKING:
    from gru_complete.cli.console import Console

app = typer.Typer(
    name="models",
    cls=HelpfulGroup,
    invoke_without_command=True,
    rich_markup_mode=None,
    add_completion=False,
)


@app.callback()
def models(context: typer.Context) -> None:
    """List, show and remove trained models; alone, `models` lists them."""
    if context.invoked_subcommand is None:
        list_all(context)


@app.command("list", cls=GroupedCommand)
def list_all(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per model.")] = False,
) -> None:
    """List the models by name, and where they are."""
    from gru_complete.model.home import built_in_model, find_model, list_models
    from gru_complete.model.manifest import has_manifest
    from gru_complete.model.naming import models_home

    console: Console = context.obj
    own, home = list_models(), printable(models_home())
    built_in = built_in_model()
    is_reachable = has_manifest(built_in) and built_in.name not in [path.name for path in own]
    paths = [*own, built_in] if is_reachable else own
    if not own and not as_json:
        console.note(f"no models in {home} yet; train one with: gru-complete train CORPUS")
    if not paths:
        return
    try:
        default = find_model(None)
    except GruCompleteError:
        default = None
    records = [_summary(path) | {"default": path == default} for path in paths]
    if as_json:
        for record in records:
            console.write(json_line(record, is_ascii=False))
        return
    from gru_complete.cli.tables import ModelsTable

    if own:
        console.write(f"models in {home}:\n".encode())
    console.print_table(ModelsTable(records))
    if default is not None and default not in paths:
        console.write(f"default: {printable(default)}\n".encode())


@app.command(cls=GroupedCommand)
def show(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(help=MODEL_HELP, metavar="[MODEL]")] = None,
) -> None:
    """Print a model's manifest and its fingerprint as JSON."""
    from gru_complete.model.directory import load_model
    from gru_complete.model.home import find_model

    console: Console = context.obj
    loaded = load_model(find_model(model))
    record = {"path": str(loaded.path), "fingerprint": loaded.fingerprint, **loaded.manifest.to_json()}
    console.write(json_line(record, is_ascii=False, indent=2))


@app.command(cls=GroupedCommand)
def remove(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Name or directory of the model.", metavar="MODEL")],
    run: Annotated[
        bool, typer.Option("--run", help="Remove only its run directory: tokenised text and checkpoints.")
    ] = False,
) -> None:
    """Remove a model and its run directory.

    To delete everything, remove the directory that `models list` names: it has all models and the texts that they were
    trained on, as tokens. State files, and models made with a path, are where you put them.
    """
    from gru_complete.model.home import remove_model, resolve_model_path

    path = resolve_model_path(model)
    remove_model(path, run_only=run)
    console: Console = context.obj
    console.note(f"removed {'the run directory of ' if run else ''}{printable(path)}")


def _summary(path: Path) -> dict[str, Any]:
    """What the list says of a model; of a damaged one, what is wrong with it."""
    from gru_complete.model.directory import load_model
    from gru_complete.model.home import built_in_model
    from gru_complete.model.manifest import MANIFEST
    from gru_complete.storage.os_calls import os_reason

    record: dict[str, Any] = {"name": path.name, "built_in": path == built_in_model(), "bytes": None}
    try:
        record["bytes"] = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
        written = time.localtime((path / MANIFEST).stat().st_mtime)
        manifest = load_model(path).manifest
    except OSError as error:
        return record | {"problem": f"cannot be read: {os_reason(error)}"}
    except GruCompleteError as error:
        return record | {"problem": str(error)}
    return record | {
        "cell": manifest.arch.cell,
        "num_parameters": manifest.arch.num_parameters,
        "bits_per_byte": manifest.bits_per_byte,
        "num_training_bytes": manifest.num_training_bytes,
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z", written),
        "finished": manifest.is_finished,
    }
