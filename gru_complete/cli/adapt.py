"""`adapt`: a model learns new text, and what it gained is saved in a small directory beside it."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gru_complete.cli.checks import check_minutes
from gru_complete.cli.display import Display, describe_corpus, describe_secrets, never, try_prompt
from gru_complete.cli.help import COMMON, OUTPUT
from gru_complete.cli.options import QuietOption, RedactOption
from gru_complete.cli.output import json_line
from gru_complete.errors import printable

if TYPE_CHECKING:
    from gru_complete.cli.console import Console
    from gru_complete.cli.signals import StopSignals
    from gru_complete.training.adaptation import AdaptationRequest, Adapted, Event

NEEDS_TORCH = True
EXAMPLES = {COMMON: ["gru-complete adapt mail new-letters.txt -m mail-2"]}


def adapt(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Name or directory of the model to adapt.", metavar="MODEL")],
    text: Annotated[
        list[str], typer.Argument(help="New text: files, directories, or '-' for standard input.", metavar="FILE...")
    ],
    new: Annotated[
        str, typer.Option("--model", "-m", help="Name or directory of the new model, beside MODEL.", metavar="NEW")
    ],
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of passes over the text.", metavar="N")
    ] = None,
    minutes: Annotated[float, typer.Option(help="Time limit.", metavar="N")] = 5.0,
    redact: RedactOption = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an existing model NEW.")] = False,
    quiet: QuietOption = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Teach MODEL new text and save the change as the model NEW.

    NEW is small and needs MODEL beside it. The end of the text is set aside for validation. If the model does not
    predict it better afterwards, no model is written and the exit code is 1.
    """
    import tempfile  # here, so that other commands need not wait for it

    from gru_complete.cli.signals import StopNow, StopSignals
    from gru_complete.model.directory import load_model
    from gru_complete.model.home import find_model, resolve_model_path

    check_minutes(minutes)
    target = resolve_model_path(new)
    console: Console = context.obj
    display = AdaptationDisplay(console, is_quiet=quiet)
    try:
        # The directory holds the text, so that a signal has to end this block, not the process.
        with StopSignals() as stop, display, tempfile.TemporaryDirectory(prefix="gru-complete-") as work_dir:
            loaded = load_model(find_model(model))
            display.stage("starting")
            from gru_complete.training.adaptation import EPOCHS, AdaptationRequest

            request = AdaptationRequest(
                sources=text,
                model=loaded,
                target=target,
                replace=replace,
                epochs=EPOCHS if epochs is None else epochs,
                deadline=console.started + 60 * minutes,
                redact=redact,
                stdin=None if sys.stdin is None else sys.stdin.buffer,
            )
            adapted, secrets = _run(request, Path(work_dir), display, stop)
    except StopNow as stopped:
        raise stopped.as_error("interrupted before anything was learnt") from None
    if as_json:
        console.write(json_line(json_record(adapted, secrets)))
    if adapted.path is None:
        raise typer.Exit(1)


def _run(
    request: "AdaptationRequest", work_dir: Path, display: "AdaptationDisplay", stop: "StopSignals"
) -> "tuple[Adapted, dict[str, int]]":
    """Adapt and show it; returns the last event, and how many secrets of each kind the text contains."""
    from gru_complete.training.adaptation import Adapted, Learning, adapt
    from gru_complete.training.events import SecretsFound

    secrets: dict[str, int] = {}
    adapted = None
    for event in adapt(request, work_dir, stop_signal=lambda: stop.received):
        stop.is_saving_possible = stop.is_saving_possible or isinstance(event, Learning)
        display.show(event)
        if isinstance(event, SecretsFound):
            secrets = event.report.counts()
        if isinstance(event, Adapted):
            adapted = event
    assert adapted is not None
    return adapted, secrets


def json_record(adapted: "Adapted", secrets: Mapping[str, int]) -> dict[str, Any]:
    """What ``--json`` prints; keys are only ever added. ``secrets`` has a count for each kind found in the text."""
    return {
        "model": None if adapted.path is None else str(adapted.path),
        "bits_per_byte_before": adapted.bits_before,
        "bits_per_byte_after": adapted.bits_after,
        "tuning_bytes": adapted.tuning_bytes,
        "epochs": adapted.epochs,
        "bytes": adapted.num_bytes,
        **({"secrets": dict(secrets)} if secrets else {}),
    }


class AdaptationDisplay(Display):
    """Shows the events of an adaptation on stderr."""

    def show(self, event: "Event") -> None:
        """Show one event."""
        if self.is_quiet:
            return
        from gru_complete.training import adaptation, events

        match event:
            case events.Working():
                self.stage(event.stage)
            case events.CorpusRead():
                self.lines(describe_corpus(event.report))
            case events.SecretsFound():
                self.lines(describe_secrets(event.report))
            case adaptation.Learning():
                self.stage(f"learning, {event.bits_per_byte:.3f} bits/byte after {event.epochs:.1f} epochs")
            case adaptation.Adapted():
                self._show_result(event)
            case _:
                never(event)

    def _show_result(self, adapted: "Adapted") -> None:
        """Say what was gained, and what to type next."""
        self.close_bar()
        bits = f"{adapted.bits_before:.3f} -> {adapted.bits_after:.3f} bits per byte"
        place = f"on {adapted.tuning_bytes:,} bytes at the end of the text"
        if adapted.path is None:
            self.line(f"nothing gained: {bits} {place}; no model was written")
            return
        self.line(f"result: {bits} {place}")
        size = f"{adapted.num_bytes / 1e6:.1f} MB"
        self.line(f"model: {printable(adapted.path)}, {size}, after {adapted.epochs:.1f} epochs")
        self.line(try_prompt(adapted.beginning, adapted.path))
