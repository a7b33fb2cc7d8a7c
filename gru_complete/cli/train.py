"""`train`: a corpus comes in, a model directory goes out, and the person sees how far it is."""

import json
import os
import re
import shlex
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gru_complete.cli.options import ConfigOption, DeviceOption, RedactOption, SeedOption, SettingsOption
from gru_complete.errors import GruCompleteError, InterruptedRun, UsageError, printable

if TYPE_CHECKING:
    from tqdm import tqdm

    from gru_complete.cli.console import Console
    from gru_complete.text.secrets import SecretsReport
    from gru_complete.training import events

# When the command began: it loads this module first, so that the minutes count from the key press (but for a tenth of a
# second), not from the import of torch.
started = time.monotonic()

SAMPLE_EVERY_LOOKS = 5
SAMPLE_TOKENS = 30
MAX_NAME_BYTES = 80
BAR_FORMAT = "{percentage:3.0f}% |{bar:20}| {n_fmt}/{total_fmt}, {remaining} left{postfix}"


def train(
    context: typer.Context,
    corpus: Annotated[
        list[str], typer.Argument(help="Text files, directories, or '-' for standard input.", metavar="CORPUS")
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="MODEL", help="Name or directory; default: the corpus's name."),
    ] = None,
    config: ConfigOption = None,
    settings: SettingsOption = None,
    cell: Annotated[
        str | None, typer.Option(help="gru, gru-simple, gru-reset-after, lstm, rnn or rnn-relu.", metavar="CELL")
    ] = None,
    minutes: Annotated[str | None, typer.Option(help="Time for the whole command; default 5.", metavar="N")] = None,
    steps: Annotated[str | None, typer.Option(help="Number of updates, instead of minutes.", metavar="N")] = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    redact: RedactOption = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the model if there is one.")] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the learning curve: .png, .svg or .pdf.", metavar="FILE")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Print what was chosen, and why.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what came out as one JSON object.")] = False,
) -> None:
    """Train a model on CORPUS; the same command goes on with a training that was interrupted."""
    from gru_complete.cli.signals import StopNow, StopSignals
    from gru_complete.config import load_config
    from gru_complete.model.home import resolve_model_path

    if minutes is not None and steps is not None:
        raise UsageError("--minutes and --steps exclude each other")
    options = {
        "model.cell": cell,
        "training.minutes": minutes,
        "training.steps": steps if minutes is None else "null",
        "training.seed": seed,
        "training.device": device,
        "data.redact": "true" if redact else None,
    }
    overrides = [*(settings or ()), *(f"{key}={value}" for key, value in options.items() if value is not None)]
    checked = load_config(config, overrides)
    path = resolve_model_path(model or default_model_name(corpus))
    display = Display(context.obj, is_quiet=quiet, explains=explain)
    try:
        with StopSignals() as stop, display:
            # torch takes a second or two to import: after the options are checked, and where Ctrl-C is understood.
            display.stage("starting")
            from gru_complete.training.events import Finished, Planned, SecretsFound
            from gru_complete.training.run import TrainingRequest, run_training

            if plot is not None:
                from gru_complete.evaluation.plots import check_plot

                check_plot(plot)
            from gru_complete.checking.unusual_words import measure_threshold

            stdin = None if sys.stdin is None else sys.stdin.buffer
            request = TrainingRequest(
                corpus, path, checked, replace=replace, started=started, stdin=stdin, measure=measure_threshold
            )
            secrets: dict[str, int] = {}
            for event in run_training(request, stop_signal=lambda: stop.received):
                stop.is_saving_possible = stop.is_saving_possible or isinstance(event, Planned)
                display.show(event)
                if isinstance(event, SecretsFound):
                    secrets = event.report.counts()
                if isinstance(event, Finished) and as_json:
                    context.obj.write(json.dumps(json_record(event, secrets)).encode() + b"\n")
            if plot is not None:
                _draw(path, plot)
    except StopNow as stopped:
        raise _interrupted_before_a_step(path, stopped.signal_number) from None


def _draw(model_path: Path, plot: Path) -> None:
    """Draw the learning curve of a finished training."""
    from gru_complete.evaluation.plots import draw_learning_curve
    from gru_complete.model.run_dir import RunDir
    from gru_complete.training.curve import read_curve

    draw_learning_curve(read_curve(RunDir.beside(model_path)), plot, title=f"Training of {printable(model_path.name)}")


def _interrupted_before_a_step(model_path: Path, signal_number: int) -> InterruptedRun:
    from gru_complete.model.run_dir import RunDir

    return InterruptedRun(
        "interrupted before the first step of this session",
        signal_number=signal_number,
        hint="the same command goes on where it was" if RunDir.beside(model_path).is_resumable() else None,
    )


def default_model_name(corpus: list[str]) -> str:
    """The name of a model that was given none: that of the one file or folder it learns from, shortened if need be.

    Whether there is such a file is for the reader of the corpus to say.

    Raises:
        UsageError: there are several, or a pipe, or the name has nothing that a model name may have.
    """
    if len(corpus) != 1 or corpus[0] == "-" or _is_fifo(corpus[0]):
        raise UsageError("which name shall the model have?", hint="name it with -m NAME")
    path = Path(os.path.realpath(corpus[0]))
    name = re.sub(r"[^\w.-]+", "-", path.name if os.path.isdir(path) else path.stem).strip("-.")
    name = name.encode()[:MAX_NAME_BYTES].decode(errors="ignore").rstrip("-.")
    if not name:
        raise UsageError(f"no model name can be made of {corpus[0]!r}", hint="name it with -m NAME")
    return name


def _is_fifo(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):  # no file, no permission, or a text too long to be a path
        return False


def json_record(finished: "events.Finished", secrets: Mapping[str, int]) -> dict[str, Any]:
    """What ``--json`` prints; keys are only ever added. ``secrets`` were found in the corpus, so many of each kind."""
    return {
        "model": str(finished.model_path),
        "steps": finished.step,
        "stopped_early": finished.stopped_early,
        "bytes": finished.num_bytes,
        "seconds": round(finished.seconds, 1),
        **finished.metrics,
        **({"secrets": dict(secrets)} if secrets else {}),
    }


class Display:
    """Shows the events of a training on stderr: a bar where there is a terminal, plain lines for what matters."""

    def __init__(self, console: "Console", *, is_quiet: bool, explains: bool = False) -> None:
        self.console = console
        self.is_quiet = is_quiet
        self.explains = explains
        self._bar: tqdm[Any] | None = None
        self._looks = 0
        self._tuning = ""
        self._tokens_per_second = 0.0
        self._last_time: float | None = None

    def __enter__(self) -> "Display":
        """Nothing is shown before the first event."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._close_bar()

    def show(self, event: "events.Event") -> None:
        """Show one event."""
        if self.is_quiet:
            return
        handler: Callable[[Any], None] = getattr(self, f"_show_{type(event).__name__.lower()}")
        handler(event)

    def stage(self, stage: str) -> None:
        """Say what is being done, where the saying can be wiped away again."""
        if self.is_quiet or not self.console.is_animated:
            return
        from tqdm import tqdm

        self._close_bar()
        self._bar = tqdm(desc=stage, bar_format="{desc} ... {elapsed}", leave=False, file=sys.stderr)

    def line(self, message: str) -> None:
        """Say something, above the bar if there is one."""
        if self.is_quiet:
            return
        if self._bar is None:
            self.console.note(message)
        else:
            with suppress(OSError):  # a terminal that was closed is no reason to end the training
                self._bar.write(message, file=sys.stderr)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show_working(self, event: "events.Working") -> None:
        self.stage(event.stage)

    def _show_note(self, event: "events.Note") -> None:
        self.line(f"note: {event.message}")

    def _show_corpusread(self, event: "events.CorpusRead") -> None:
        for line in describe_corpus(event.report):
            self.line(line)

    def _show_secretsfound(self, event: "events.SecretsFound") -> None:
        for line in describe_secrets(event.report):
            self.line(line)

    def _show_planned(self, event: "events.Planned") -> None:
        self._close_bar()
        model, training = event.plan.config.model, event.plan.config.training
        assert training.batch_size is not None
        epochs = event.plan.max_steps * training.batch_size * training.seq_len / event.num_training_tokens
        self.line(
            f"model: {model.cell}, width {model.hidden_size}, {event.vocab_size:,} tokens, "
            f"{event.num_parameters / 1e6:.2f} million parameters; "
            f"{event.plan.max_steps:,} steps of {training.batch_size} x {training.seq_len} tokens "
            f"= {epochs:.1f} times through the text, on {training.device}"
        )
        if event.plan.config.ngrams.order:
            self.line(
                f"counts: of phrases of up to {event.plan.config.ngrams.order} tokens, which the model keeps word for "
                "word; --set ngrams.order=0 leaves them out"
            )
        if self.explains:
            for line in explanation(event):
                self.line(f"  {line}")
        if event.step:
            self.line(f"going on at step {event.step:,}")
        if self.console.is_animated:
            from tqdm import tqdm

            self._bar = tqdm(
                total=event.plan.max_steps,
                initial=event.step,
                bar_format=BAR_FORMAT,
                dynamic_ncols=True,
                leave=False,
                file=sys.stderr,
            )

    def _show_stepped(self, event: "events.Stepped") -> None:
        if self._bar is None:
            return
        now = time.monotonic()
        if self._last_time is not None:
            speed = event.num_tokens / max(1e-6, now - self._last_time)
            self._tokens_per_second = 0.95 * (self._tokens_per_second or speed) + 0.05 * speed
        self._last_time = now
        self._bar.total = event.max_steps
        self._bar.set_postfix_str(
            f"loss {event.loss:.3f}{self._tuning}, {self._tokens_per_second:,.0f} tokens/s", refresh=False
        )
        self._bar.update(event.step - self._bar.n)

    def _show_evaluated(self, event: "events.Evaluated") -> None:
        self._tuning = f", {event.tuning_bits_per_byte:.3f} bits/byte"
        self._looks += 1
        if self._bar is not None and event.checkpoint is not None and self._looks % SAMPLE_EVERY_LOOKS == 0:
            self.line(f"step {event.step:,}, {event.tuning_bits_per_byte:.3f} bits/byte: {sample_of(event.checkpoint)}")

    def _show_replanned(self, event: "events.Replanned") -> None:
        self.line(f"note: the speed is not as measured at first; now {event.max_steps:,} steps in all")

    def _show_rolledback(self, event: "events.RolledBack") -> None:
        self.line(
            f"note: the loss was not finite at step {event.step:,}; going on from step {event.to_step:,} "
            f"with {event.rate_scale:g} of the learning rate"
        )

    def _show_finished(self, event: "events.Finished") -> None:
        self._close_bar()
        for line in describe_result(event):
            self.line(line)


def sample_of(model_path: Path) -> str:
    """A sentence that the model at this stage writes, in one harmless line."""
    from gru_complete.cli.console import harmless
    from gru_complete.runtime.completer import Completer
    from gru_complete.runtime.options import CompletionOptions

    try:
        completion = Completer.load(model_path).complete(b"", CompletionOptions(max_tokens=SAMPLE_TOKENS))
    except GruCompleteError as error:
        return f"(no sample: {error})"
    return harmless(" ".join(completion.data.decode().split()))


def explanation(event: "events.Planned") -> list[str]:
    """What was chosen and why."""
    from gru_complete.training.explanation import explain

    return explain(
        event.plan,
        num_bytes=event.num_training_bytes,
        num_tokens=event.num_training_tokens,
        vocab_size=event.vocab_size,
    )


def describe_corpus(report: Any) -> Iterator[str]:
    """The corpus report, line by line."""
    yield (
        f"corpus: {report.num_bytes:,} bytes, {report.num_documents:,} document{'s' * (report.num_documents != 1)}, "
        f"{report.num_lines:,} lines (longest {report.longest_line_bytes:,} bytes), "
        f"{report.distinct_chars:,} different characters"
    )
    if report.num_duplicates:
        documents = "document stands" if report.num_duplicates == 1 else "documents stand"
        yield f"note: {report.num_duplicates:,} {documents} in the corpus more than once"
    for note in report.notes:
        yield f"note: {note}"
    yield f"expect: {expected_quality(report.num_bytes)}"


def describe_secrets(report: "SecretsReport") -> Iterator[str]:
    """What looks secret in the corpus, or was replaced, line by line: kinds, numbers and places, never the values."""
    if report.redacted:
        replaced = ", ".join(f"{found.count:,} x [{kind}]" for kind, found in report.found.items())
        yield f"note: in place of what looked secret stands now: {replaced}"
        return
    yield "warning: this looks secret, and the model will learn it:"
    for kind, found in report.found.items():
        more = " and elsewhere" if found.count > len(found.places) else ""
        yield f"  {kind}: {found.count:,}, at {', '.join(found.places)}{more}"
    yield f"hint: --redact learns [{next(iter(report.found))}] and the like in its place"


def expected_quality(num_bytes: int) -> str:
    """In words, what a corpus of this size is good for."""
    if num_bytes < 50_000:
        return "frequent words and phrases; some 200 kB would teach it more of the way you write"
    if num_bytes < 500_000:
        return "words and set phrases, sentences that mostly hold together"
    if num_bytes < 5_000_000:
        return "fluent sentences in the style of the text"
    return "fluent sentences; give it more than five minutes (--minutes) to use all of this text"


def describe_result(event: "events.Finished") -> Iterator[str]:
    """What was learnt, and what to type next."""
    from gru_complete.model.home import models_home

    if event.stopped_early:
        yield "stopped early: the text set apart for tuning was no longer predicted better; the best weights are kept"
    learnt = f"{event.metrics['tuning_bits_per_byte']:.3f} bits per byte on the tuning part"
    if "held_out_bits_per_byte" in event.metrics:
        learnt = (
            f"{event.metrics['held_out_bits_per_byte']:.3f} bits per byte on {event.metrics['held_out_bytes']:,} bytes "
            f"of held-out text; xz needs {event.metrics['xz_bits_per_byte']:.3f}"
        )
        if "ngrams_bits_per_byte" in event.metrics:
            learnt += f", the counts alone {event.metrics['ngrams_bits_per_byte']:.3f}"
    yield f"learnt: {learnt}"
    size = f"{event.num_bytes / 1e6:.1f} MB"
    yield f"model: {printable(event.model_path)}, {size}, after {event.step:,} steps and {event.seconds:.0f} s"
    name = event.model_path.name if event.model_path.parent == models_home() else shlex.quote(str(event.model_path))
    yield f'try: gru-complete complete "The " -m {name}'
