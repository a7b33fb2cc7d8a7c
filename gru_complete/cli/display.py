"""What a person sees of a training on stderr: a progress bar on a terminal, and plain lines everywhere.

Only types are imported here: the events of a training bring torch with them.
"""

import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from gru_complete.cli.console import terminal_text
from gru_complete.cli.progress import stage_bar, step_bar
from gru_complete.errors import GruCompleteError, printable, shell_word
from gru_complete.model.naming import model_argument

if TYPE_CHECKING:
    from tqdm import tqdm

    from gru_complete.cli.console import Console
    from gru_complete.text.corpus import CorpusReport
    from gru_complete.text.secrets import SecretsReport
    from gru_complete.training import events

LITTLE_READ, ENOUGH_READ = 300_000, 5_000_000  # bytes, each as often as the network reads it
MUCH_TEXT = 200_000  # bytes: more than a base alone says about a style
SAMPLE_EVERY_EVALUATIONS = 5
SAMPLE_TOKENS = 30
SPEED_SMOOTHING = 0.95

DisplayT = TypeVar("DisplayT", bound="Display")


class Display:
    """Lines of text on stderr, above a progress bar if there is one; use it in a ``with`` block.

    Args:
        console: where to write.
        is_quiet: whether nothing is shown.
    """

    def __init__(self, console: "Console", *, is_quiet: bool) -> None:
        self.console = console
        self.is_quiet = is_quiet
        self.bar: tqdm[Any] | None = None

    def __enter__(self: DisplayT) -> DisplayT:
        """Nothing is shown before the first event."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the bar."""
        self.close_bar()

    def stage(self, stage: str) -> None:
        """Name the current stage on a terminal, where the line can be erased again."""
        if self.is_quiet or not self.console.is_animated:
            return
        self.close_bar()
        self.bar = stage_bar(stage)

    def line(self, message: str) -> None:
        """Write a line, above the bar if there is one."""
        if self.is_quiet:
            return
        if self.bar is None:
            self.console.note(message)
        else:
            with suppress(OSError):  # a terminal that was closed is no reason to end the training
                self.bar.write(terminal_text(message), file=sys.stderr)

    def lines(self, messages: Iterator[str]) -> None:
        """Write several lines."""
        for message in messages:
            self.line(message)

    def close_bar(self) -> None:
        """Remove the bar, if there is one."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class TrainingDisplay(Display):
    """Shows the events of a training.

    Args:
        console: where to write.
        is_quiet: whether nothing is shown.
        explains: whether the plan is explained (``--explain``).
    """

    def __init__(self, console: "Console", *, is_quiet: bool, explains: bool = False) -> None:
        super().__init__(console, is_quiet=is_quiet)
        self.explains = explains
        self._num_evaluations = 0
        self._last_evaluation = ""
        self._tokens_per_second = 0.0
        self._last_time: float | None = None

    def show(self, event: "events.Event") -> None:
        """Show one event."""
        if self.is_quiet:
            return
        from gru_complete.training import events

        match event:
            case events.Working():
                self.stage(event.stage)
            case events.Note():
                self.line(f"note: {event.message}")
            case events.CorpusRead():
                self.lines(describe_corpus(event.report))
            case events.SecretsFound():
                self.lines(describe_secrets(event.report))
            case events.Planned():
                self._show_plan(event)
            case events.Stepped():
                self._show_step(event)
            case events.Evaluated():
                self._show_evaluation(event)
            case events.Replanned():
                self.line(f"note: the speed differs from the first measurement; now {event.max_steps:,} steps in all")
            case events.RolledBack():
                self.line(
                    f"note: the loss was not finite at step {event.step:,}; resuming from step {event.to_step:,} "
                    f"with {event.rate_scale:g} of the learning rate"
                )
            case events.Finished():
                self.close_bar()
                self.lines(describe_result(event))
            case _:
                never(event)

    def _show_plan(self, planned: "events.Planned") -> None:
        """Describe the model and its training, and start the bar of steps."""
        self.close_bar()
        self.lines(describe_plan(planned))
        if self.explains:
            for line in explanation(planned):
                self.line(f"  {line}")
        if planned.step:
            self.line(f"resuming at step {planned.step:,}")
        if self.console.is_animated:
            self.bar = step_bar(planned.plan.max_steps, done=planned.step)

    def _show_step(self, stepped: "events.Stepped") -> None:
        """Move the bar, with the loss and the smoothed speed."""
        if self.bar is None:
            return
        now = time.monotonic()
        if self._last_time is not None:
            speed = stepped.num_tokens / max(1e-6, now - self._last_time)
            before = self._tokens_per_second or speed
            self._tokens_per_second = SPEED_SMOOTHING * before + (1 - SPEED_SMOOTHING) * speed
        self._last_time = now
        self.bar.total = stepped.max_steps
        figures = f"loss {stepped.loss:.3f}{self._last_evaluation}, {self._tokens_per_second:,.0f} tokens/s"
        self.bar.set_postfix_str(figures, refresh=False)
        self.bar.update(stepped.step - self.bar.n)

    def _show_evaluation(self, evaluated: "events.Evaluated") -> None:
        """Remember the figure for the bar; now and then show what the model writes at this point."""
        bits = f"{evaluated.tuning_bits_per_byte:.3f} bits/byte"
        self._last_evaluation = f", {bits}"
        self._num_evaluations += 1
        is_sampled = self._num_evaluations % SAMPLE_EVERY_EVALUATIONS == 0
        if self.bar is not None and evaluated.checkpoint is not None and is_sampled:
            self.line(f"step {evaluated.step:,}, {bits}: {sample_of(evaluated.checkpoint)}")


def never(event: NoReturn) -> NoReturn:
    """Mark what a type checker proves unreachable: an event that a display does not handle fails the type check."""
    raise AssertionError(f"no display for {event!r}")


def sample_of(model_path: Path) -> str:
    """A sentence that the model writes at this stage, on one line that is safe to print."""
    from gru_complete.runtime.completer import Completer
    from gru_complete.runtime.options import CompletionOptions

    try:
        completion = Completer.load(model_path).complete(b"", CompletionOptions(max_tokens=SAMPLE_TOKENS))
    except GruCompleteError as error:
        return f"(no sample: {error})"
    return terminal_text(" ".join(completion.data.decode().split()))


def describe_plan(planned: "events.Planned") -> Iterator[str]:
    """The size of the model and of its training, and what to expect of it, line by line."""
    from gru_complete.training.explanation import minutes_to_read_all

    model, training, ngrams = planned.plan.config.model, planned.plan.config.training, planned.plan.config.ngrams
    assert training.batch_size is not None
    num_tokens = planned.plan.max_steps * training.batch_size * training.seq_len
    epochs = num_tokens / planned.num_training_tokens
    yield (
        f"model: {model.cell}, width {model.hidden_size}, {planned.vocab_size:,} tokens, "
        f"{planned.num_parameters / 1e6:.2f} million parameters; "
        f"{planned.plan.max_steps:,} steps of {training.batch_size} x {training.seq_len} tokens "
        f"= {epochs:{'.1f' if epochs >= 1 else '.2g'}} epochs, on {training.device}"
    )
    if epochs < 1 and planned.plan.budget_seconds is not None:
        minutes = minutes_to_read_all(planned.plan, planned.num_training_tokens)
        yield f"reads: {epochs:.1%} of the text; at least --minutes {math.ceil(minutes)} for all of it"
    has_base = planned.plan.base_sha256 is not None
    if has_base:
        yield f"base: {printable(training.base)}; --base none starts from nothing"
    yield f"expect: {expected_quality(planned.num_training_bytes, epochs, has_base=has_base)}"
    if ngrams.order:
        yield (
            f"n-grams: the model stores phrases of up to {ngrams.order} tokens verbatim; "
            "--set ngrams.order=0 leaves them out"
        )


def explanation(planned: "events.Planned") -> list[str]:
    """What was chosen and why, line by line."""
    from gru_complete.training.explanation import explain

    return explain(
        planned.plan,
        num_bytes=planned.num_training_bytes,
        num_tokens=planned.num_training_tokens,
        vocab_size=planned.vocab_size,
    )


def describe_corpus(report: "CorpusReport") -> Iterator[str]:
    """The size of the corpus and what is odd about it, line by line."""
    yield (
        f"corpus: {report.num_bytes:,} bytes, {report.num_documents:,} document{'s' * (report.num_documents != 1)}, "
        f"{report.num_lines:,} lines (longest {report.longest_line_bytes:,} bytes), "
        f"{report.distinct_chars:,} distinct characters"
    )
    if report.num_duplicates:
        documents = "document occurs" if report.num_duplicates == 1 else "documents occur"
        yield f"note: {report.num_duplicates:,} {documents} in the corpus more than once"
    for note in report.notes:
        yield f"note: {note}"


def describe_secrets(report: "SecretsReport") -> Iterator[str]:
    """What looks secret in the corpus, or was replaced, line by line: kinds, counts and places, never the values."""
    if report.redacted:
        replaced = ", ".join(f"{found.count:,} x [{kind}]" for kind, found in report.found.items())
        yield f"note: replaced what looked secret: {replaced}"
        return
    yield "warning: this looks secret, and the model will learn it:"
    for kind, found in report.found.items():
        more = " and elsewhere" if found.count > len(found.places) else ""
        yield f"  {kind}: {found.count:,}, at {', '.join(found.places)}{more}"
    yield f"hint: with --redact the model learns [{next(iter(report.found))}] and the like instead"


def expected_quality(num_bytes: int, epochs: float, *, has_base: bool = False) -> str:
    """What a model is good for, in words.

    Args:
        num_bytes: of the training split.
        epochs: how often the network reads it.
        has_base: whether the network has read another text before.
    """
    bytes_read = epochs * num_bytes
    if has_base and num_bytes < MUCH_TEXT:
        return "the sentences of the base with words and phrases of the text; with 200 kB or more, its style"
    if has_base:
        return "fluent sentences in the style of the text"
    if bytes_read < LITTLE_READ:
        return "phrases of the text: the network reads too little to add much; give it more minutes"
    if num_bytes < 50_000:
        return "frequent words and phrases; with 200 kB or more it learns more of your style"
    if num_bytes < 500_000:
        return "words and set phrases, sentences that mostly hold together"
    if bytes_read < ENOUGH_READ:
        return "words and set phrases, sentences that mostly hold together; more minutes make them fluent"
    return "fluent sentences in the style of the text"


def describe_result(finished: "events.Finished") -> Iterator[str]:
    """How good the model is, and what to type next, line by line."""
    metrics = finished.metrics
    if finished.stopped_early:
        yield "stopped early: the validation loss no longer improved; the best weights are kept"
    yield f"result: {_cost(metrics)}"
    yield from _warnings(finished)
    size = f"{finished.num_bytes / 1e6:.1f} MB"
    yield (
        f"model: {printable(finished.model_path)}, {size}, after {finished.step:,} steps and {finished.seconds:.0f} s "
        f"({finished.preparing_seconds:.0f} s before the first, {finished.closing_seconds:.0f} s after the last)"
    )
    yield try_prompt(finished.beginning, finished.model_path)


def _cost(metrics: Mapping[str, float]) -> str:
    """What unseen text costs as `complete` uses the model, and what it would cost otherwise."""
    if "held_out_bits_per_byte" not in metrics:
        return f"{metrics['tuning_bits_per_byte']:.3f} bits per byte on the validation split"
    static = f"{metrics['held_out_bits_per_byte']:.3f}"
    used = f"{metrics.get('held_out_adapted_bits_per_byte', metrics['held_out_bits_per_byte']):.3f}"
    cost = f"{used} bits per byte on {metrics['held_out_bytes']:,} bytes of held-out text"
    if used != static:
        cost += f" (without learning from it, {static})"
    cost += f"; xz needs {metrics['xz_bits_per_byte']:.3f}"
    if "ngrams_bits_per_byte" in metrics:
        cost += f", the n-gram model alone {metrics['ngrams_bits_per_byte']:.3f}"
    return cost


def _warnings(finished: "events.Finished") -> Iterator[str]:
    """What is cheaper than the model, and what to do about it."""
    metrics = finished.metrics
    static = metrics.get("held_out_bits_per_byte", -math.inf)
    if not finished.uses_network:
        yield (
            "note: the network only did harm on the validation split, so completions come from the counted phrases "
            "alone; more minutes or more text will let it help"
        )
    elif static > metrics.get("ngrams_bits_per_byte", math.inf):
        yield (
            f"note: the counted phrases alone predict better: the network has learnt too little in {finished.step:,} "
            "steps; give it more minutes or more text"
        )
    if metrics.get("held_out_adapted_bits_per_byte", static) > metrics.get("xz_bits_per_byte", math.inf):
        yield (
            "note: xz predicts better: the held-out end of the text repeats long stretches, or is unlike the rest; "
            "more text of one kind will help"
        )


def try_prompt(beginning: str, model_path: Path) -> str:
    """The command to type next.

    Args:
        beginning: how a line or sentence of the text begins most often.
        model_path: the model's directory.
    """
    return f"try: gru-complete complete {shell_word(beginning)} -m {model_argument(model_path)}"
