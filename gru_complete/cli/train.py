"""`train`: a corpus comes in, a model directory goes out, and stderr shows the progress."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gru_complete.cli.checks import check_minutes_or_steps
from gru_complete.cli.display import TrainingDisplay
from gru_complete.cli.help import COMMON, OUTPUT, SETTINGS
from gru_complete.cli.options import (
    ConfigOption,
    DeviceOption,
    QuietOption,
    RedactOption,
    SeedOption,
    SettingsOption,
    training_settings,
)
from gru_complete.cli.output import json_line
from gru_complete.errors import InterruptedRun, printable
from gru_complete.model.naming import default_model_name

if TYPE_CHECKING:
    from gru_complete.cli.console import Console
    from gru_complete.cli.signals import StopNow, StopSignals
    from gru_complete.training import events
    from gru_complete.training.run import TrainingRequest

NEEDS_TORCH = True
EXAMPLES = {
    COMMON: ["gru-complete train letters.txt", "gru-complete train ~/mail/sent -m mail --minutes 10 --redact"],
    SETTINGS: ["gru-complete train letters.txt --steps 2000 --set model.hidden_size=256"],
    OUTPUT: ["gru-complete train letters.txt --explain --plot curve.svg"],
}


def train(
    context: typer.Context,
    corpus: Annotated[
        list[str],
        typer.Argument(help="Text to learn: files, directories, or '-' for standard input.", metavar="CORPUS..."),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="MODEL", help="Name or directory of the new model; default: named after CORPUS."
        ),
    ] = None,
    minutes: Annotated[
        str | None, typer.Option(help="Time limit for the whole command; default: 5.", metavar="N")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="The model to start from: a name, a path, or none; default: the built-in one if it suits the text.",
            metavar="MODEL",
        ),
    ] = None,
    redact: RedactOption = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an existing model.")] = False,
    steps: Annotated[
        str | None,
        typer.Option(help="Number of updates, instead of --minutes.", metavar="N", rich_help_panel=SETTINGS),
    ] = None,
    cell: Annotated[
        str | None,
        typer.Option(
            help="gru, gru-simple, gru-reset-after, lstm, rnn or rnn-relu.", metavar="CELL", rich_help_panel=SETTINGS
        ),
    ] = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    config: ConfigOption = None,
    settings: SettingsOption = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Print which settings were chosen, and why.", rich_help_panel=OUTPUT),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Plot the learning curve: .png, .svg or .pdf.", metavar="FILE", rich_help_panel=OUTPUT),
    ] = None,
    quiet: QuietOption = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Train a model on CORPUS. If a training was interrupted, the same command resumes it.

    The model becomes the directory NAME in $GRU_COMPLETE_HOME/models, which `models list` shows, or MODEL itself if
    that is a path, as in ./novel. NAME.run beside it keeps CORPUS as tokens, to resume and to evaluate.
    """
    from gru_complete.cli.signals import StopNow, StopSignals
    from gru_complete.config import load_config
    from gru_complete.model.home import resolve_model_path

    check_minutes_or_steps(minutes, steps)
    options = {
        "model.cell": cell,
        **training_settings(minutes=minutes, steps=steps, seed=seed, device=device),
        "data.redact": "true" if redact else None,
        "training.base": base,
    }
    checked = load_config(config, settings or (), options)
    path = resolve_model_path(model or default_model_name(corpus))
    console: Console = context.obj
    try:
        with StopSignals() as stop, TrainingDisplay(console, is_quiet=quiet, explains=explain) as display:
            # torch takes a second or two to import: after the options are checked, and where Ctrl-C is understood.
            display.stage("starting")
            from gru_complete.checking.threshold import measure_threshold
            from gru_complete.training.run import TrainingRequest

            if plot is not None:
                from gru_complete.evaluation.plots import check_plot

                check_plot(plot)
            stdin = None if sys.stdin is None else sys.stdin.buffer
            request = TrainingRequest(
                corpus, path, checked, replace=replace, started=console.started, stdin=stdin, measure=measure_threshold
            )
            finished, secrets = _run(request, display, stop)
            if as_json:
                console.write(json_line(json_record(finished, secrets)))
            if plot is not None:
                _draw(path, plot)
    except StopNow as stopped:
        raise _interrupted_before_a_step(path, stopped) from None


def _run(
    request: "TrainingRequest", display: TrainingDisplay, stop: "StopSignals"
) -> "tuple[events.Finished, dict[str, int]]":
    """Train and show it; returns the last event, and how many secrets of each kind the corpus contains."""
    from gru_complete.training.events import Finished, Planned, SecretsFound
    from gru_complete.training.run import run_training

    secrets: dict[str, int] = {}
    finished = None
    for event in run_training(request, stop_signal=lambda: stop.received):
        stop.is_saving_possible = stop.is_saving_possible or isinstance(event, Planned)
        display.show(event)
        if isinstance(event, SecretsFound):
            secrets = event.report.counts()
        if isinstance(event, Finished):
            finished = event
    assert finished is not None
    return finished, secrets


def _draw(model_path: Path, plot: Path) -> None:
    """Plot the learning curve of a finished training."""
    from gru_complete.evaluation.plots import draw_learning_curve
    from gru_complete.model.run_dir import RunDir
    from gru_complete.training.curve import read_curve

    draw_learning_curve(read_curve(RunDir.beside(model_path)), plot, title=f"Training of {printable(model_path.name)}")


def _interrupted_before_a_step(model_path: Path, stopped: "StopNow") -> InterruptedRun:
    """The error of a training that was stopped before its first step, with a hint if an earlier session left one."""
    from gru_complete.model.run_dir import RunDir

    hint = "run the same command again to resume" if RunDir.beside(model_path).is_resumable() else None
    return stopped.as_error("interrupted before the first step of this session", hint=hint)


def json_record(finished: "events.Finished", secrets: Mapping[str, int]) -> dict[str, Any]:
    """What ``--json`` prints; keys are only ever added. ``secrets`` has a count for each kind found in the corpus."""
    return {
        "model": str(finished.model_path),
        "steps": finished.step,
        "stopped_early": finished.stopped_early,
        "bytes": finished.num_bytes,
        "seconds": round(finished.seconds, 1),
        **finished.metrics,
        **({"secrets": dict(secrets)} if secrets else {}),
    }
