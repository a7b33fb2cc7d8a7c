"""`models`: list, show and remove what was trained."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gru_complete.cli.options import MODEL_HELP
from gru_complete.errors import ModelError, printable

if TYPE_CHECKING:
    from gru_complete.cli.console import Console

app = typer.Typer(
    name="models",
    help="List, show and remove trained models.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@app.command("list")
def list_all(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per model.")] = False,
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
            console.write(json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for title in ("name", "cell", "parameters", "bits per byte", "MB", ""):
        table.add_column(title, justify="left" if title in ("name", "cell", "") else "right")
    for record in records:
        table.add_row(
            Text(printable(record["name"])),
            Text(record.get("cell", "")),
            f"{record['num_parameters']:,}" if "num_parameters" in record else "",
            f"{record['bits_per_byte']:.3f}" if record.get("bits_per_byte") is not None else "",
            f"{record['bytes'] / 1e6:.1f}",
            "damaged" if "problem" in record else "" if record["finished"] else "unfinished",
        )
    console.print_table(table)


@app.command()
def show(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(help=MODEL_HELP)] = None,
) -> None:
    """Print a model's manifest and its fingerprint as JSON."""
    from gru_complete.model.directory import load_model
    from gru_complete.model.home import find_model

    console: Console = context.obj
    loaded = load_model(find_model(model))
    record = {"path": str(loaded.path), "fingerprint": loaded.fingerprint, **loaded.manifest.to_json()}
    console.write(json.dumps(record, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")


@app.command()
def remove(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Name or directory.")],
    run: Annotated[
        bool, typer.Option("--run", help="Only its run directory: text as tokens, and checkpoints.")
    ] = False,
) -> None:
    """Remove a model and its run directory."""
    from gru_complete.model.home import remove_model, resolve_model_path

    path = resolve_model_path(model)
    remove_model(path, run_only=run)
    console: Console = context.obj
    console.note(f"removed {'the run directory of ' if run else ''}{printable(path)}")


def _summary(path: Path) -> dict[str, Any]:
    from gru_complete.model.directory import load_model

    size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
    try:
        manifest = load_model(path).manifest
    except ModelError as error:
        return {"name": path.name, "bytes": size, "problem": str(error)}
    metrics = manifest.metrics
    bits_per_byte = metrics.get("held_out_bits_per_byte", metrics.get("tuning_bits_per_byte"))
    return {
        "name": path.name,
        "cell": manifest.arch.cell,
        "num_parameters": manifest.arch.num_parameters,
        "bits_per_byte": bits_per_byte if isinstance(bits_per_byte, float) else None,  # anyone may write a manifest
        "bytes": size,
        "finished": bool(manifest.training.get("finished")),
    }
