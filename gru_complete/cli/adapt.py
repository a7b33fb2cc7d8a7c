"""`adapt`: a model learns a new text, and what it gained goes into a small directory beside it."""

import json
import math
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gru_complete.cli import train
from gru_complete.cli.options import RedactOption
from gru_complete.errors import InterruptedRun, UsageError, printable

if TYPE_CHECKING:
    from gru_complete.training.adaptation import Adapted, Learning
    from gru_complete.training.events import CorpusRead


def adapt(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Name or directory of the model that learns.", metavar="MODEL")],
    text: Annotated[
        list[str], typer.Argument(help="New text: files, directories, or '-' for standard input.", metavar="FILE...")
    ],
    new: Annotated[
        str, typer.Option("--model", "-m", help="Name or directory of the new model, beside MODEL.", metavar="NEW")
    ],
    epochs: Annotated[int | None, typer.Option(min=1, help="At most so many times through the text.")] = None,
    minutes: Annotated[float, typer.Option(help="Learn no longer than this.", metavar="N")] = 5.0,
    redact: RedactOption = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the model NEW if there is one.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what came out as one JSON object.")] = False,
) -> None:
    """Teach MODEL a new text; what it learns becomes the model NEW, a small change that needs MODEL beside it.

    The end of the text is kept apart. If the model does not predict it better afterwards, no model is written and the
    exit code is 1.
    """
    import tempfile  # here, so that other commands need not wait for it

    from gru_complete.cli.signals import StopNow, StopSignals
    from gru_complete.model.directory import load_model
    from gru_complete.model.home import find_model, resolve_model_path

    started = time.monotonic()
    if not 0 < minutes < math.inf:
        raise UsageError(f"--minutes {minutes} is not a number above 0")
    target = resolve_model_path(new)
    display = Display(context.obj, is_quiet=quiet)
    finished = None
    secrets: dict[str, int] = {}
    try:
        # The directory holds the text, so that a signal has to end this block, not the process.
        with StopSignals() as stop, display, tempfile.TemporaryDirectory(prefix="gru-complete-") as work_dir:
            loaded = load_model(find_model(model))
            display.stage("starting")
            from gru_complete.training import adaptation
            from gru_complete.training.events import SecretsFound

            request = adaptation.AdaptationRequest(
                sources=text,
                model=loaded,
                target=target,
                replace=replace,
                epochs=adaptation.EPOCHS if epochs is None else epochs,
                deadline=started + 60 * minutes,
                redact=redact,
                stdin=None if sys.stdin is None else sys.stdin.buffer,
            )
            for event in adaptation.adapt(request, Path(work_dir), stop_signal=lambda: stop.received):
                stop.is_saving_possible = stop.is_saving_possible or isinstance(event, adaptation.Learning)
                display.show(event)
                if isinstance(event, SecretsFound):
                    secrets = event.report.counts()
                if isinstance(event, adaptation.Adapted):
                    finished = event
    except StopNow as stopped:
        message = "interrupted before anything was learnt"
        raise InterruptedRun(message, signal_number=stopped.signal_number) from None
    assert finished is not None
    if as_json:
        context.obj.write(json.dumps(json_record(finished, secrets)).encode() + b"\n")
    if finished.path is None:
        raise typer.Exit(1)


def json_record(adapted: "Adapted", secrets: Mapping[str, int]) -> dict[str, Any]:
    """What ``--json`` prints; keys are only ever added. ``secrets`` were found in the text, so many of each kind."""
    return {
        "model": None if adapted.path is None else str(adapted.path),
        "bits_per_byte_before": adapted.bits_before,
        "bits_per_byte_after": adapted.bits_after,
        "tuning_bytes": adapted.tuning_bytes,
        "epochs": adapted.epochs,
        "bytes": adapted.num_bytes,
        **({"secrets": dict(secrets)} if secrets else {}),
    }


class Display(train.Display):
    """Shows the events of an adaptation on stderr."""

    def show(self, event: Any) -> None:
        """Show one event."""
        super().show(event)

    def _show_corpusread(self, event: "CorpusRead") -> None:
        *facts, _ = train.describe_corpus(event.report)  # the last line is what to expect of a training
        for line in facts:
            self.line(line)

    def _show_learning(self, event: "Learning") -> None:
        self.stage(f"learning, {event.bits_per_byte:.3f} bits/byte after {event.epochs:.1f} times through the text")

    def _show_adapted(self, event: "Adapted") -> None:
        from gru_complete.model.home import models_home

        self._close_bar()
        bits = f"{event.bits_before:.3f} -> {event.bits_after:.3f} bits per byte"
        place = f"on {event.tuning_bytes:,} bytes at the end of the text"
        if event.path is None:
            self.line(f"nothing gained: {bits} {place}; no model is written")
            return
        self.line(f"learnt: {bits} {place}")
        size = f"{event.num_bytes / 1e6:.1f} MB"
        self.line(f"model: {printable(event.path)}, {size}, after {event.epochs:.1f} times through the text")
        name = event.path.name if event.path.parent == models_home() else shlex.quote(str(event.path))
        self.line(f'try: gru-complete complete "The " -m {name}')
