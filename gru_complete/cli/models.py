"""`models`: list, show and remove trained models."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gru_complete.cli.help import GroupedCommand, HelpfulGroup
from gru_complete.cli.options import MODEL_HELP
from gru_complete.cli.output import json_line
from gru_complete.errors import ModelError, printable

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
    """List the models by name."""
    from gru_complete.model.home import list_models, models_home

    console: Console = context.obj
    paths = list_models()
    if not paths and not as_json:
        console.note(f"no models in {printable(models_home())} yet; train one with: gru-complete train CORPUS")
        return
    records = [_summary(path) for path in paths]
    if as_json:
        for record in records:
            console.write(json_line(record, is_ascii=False))
        return
    from gru_complete.cli.tables import models_table

    console.print_table(models_table(records))


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
    """Remove a model and its run directory."""
    from gru_complete.model.home import remove_model, resolve_model_path

    path = resolve_model_path(model)
    remove_model(path, run_only=run)
    console: Console = context.obj
    console.note(f"removed {'the run directory of ' if run else ''}{printable(path)}")


def _summary(path: Path) -> dict[str, Any]:
    """What the list says of a model; of a damaged one, what is wrong with it."""
    from gru_complete.model.directory import load_model

    size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
    try:
        manifest = load_model(path).manifest
    except ModelError as error:
        return {"name": path.name, "bytes": size, "problem": str(error)}
    return {
        "name": path.name,
        "cell": manifest.arch.cell,
        "num_parameters": manifest.arch.num_parameters,
        "bits_per_byte": manifest.bits_per_byte,
        "bytes": size,
        "finished": manifest.is_finished,
    }
