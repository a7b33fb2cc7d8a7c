"""`eval`: how well a model predicts text that it has not seen."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from gru_complete.cli.help import COMMON
from gru_complete.cli.loading import choose_model
from gru_complete.cli.options import DEVICES_HELP, ModelOption, PairsOption
from gru_complete.cli.output import json_line
from gru_complete.cli.progress import work_bar

if TYPE_CHECKING:
    from gru_complete.arrays import TokenIds
    from gru_complete.cli.console import Console
    from gru_complete.evaluation.canaries import CanaryReport
    from gru_complete.evaluation.novelty import NoveltyReport
    from gru_complete.evaluation.pairs import PairsReport
    from gru_complete.evaluation.planting import OriginalTraining
    from gru_complete.evaluation.report import EvaluationReport
    from gru_complete.model.directory import LoadedModel
    from gru_complete.nn.language_model import LanguageModel
    from gru_complete.text.shards import ShardHeader

_MORE = "Further measures"

NEEDS_TORCH = True
EXAMPLES = {
    COMMON: ["gru-complete eval", "gru-complete eval other-letters.txt -m mail"],
    _MORE: ["gru-complete eval --keystrokes --suggestions"],
}


def evaluate(
    context: typer.Context,
    corpus: Annotated[
        list[str] | None,
        typer.Argument(
            help="Text to score: files, directories, or '-' for standard input; default: the held-out (test) split "
            "of the training corpus.",
            metavar="[CORPUS]...",
        ),
    ] = None,
    model: ModelOption = None,
    pairs: PairsOption = None,
    online: Annotated[
        bool,
        typer.Option(
            "--online", help="Also score the text while the model learns from it (slow).", rich_help_panel=_MORE
        ),
    ] = False,
    marginal: Annotated[
        bool,
        typer.Option(
            "--marginal",
            help="Also score the beginning of the text summed over all its segmentations into tokens.",
            rich_help_panel=_MORE,
        ),
    ] = False,
    suggestions: Annotated[
        bool,
        typer.Option(
            "--suggestions",
            help="Also measure how often suggestions are right, by their minimum probability.",
            rich_help_panel=_MORE,
        ),
    ] = False,
    effective_context: Annotated[
        bool,
        typer.Option(
            "--effective-context", help="Also measure how far back the network remembers.", rich_help_panel=_MORE
        ),
    ] = False,
    novelty: Annotated[
        bool,
        typer.Option(
            "--novelty",
            help="Also measure how much of what the model writes is copied from its corpus.",
            rich_help_panel=_MORE,
        ),
    ] = False,
    keystrokes: Annotated[
        bool,
        typer.Option(
            "--keystrokes",
            help="Also simulate a user who writes 2,000 words: keystrokes saved, next words right.",
            rich_help_panel=_MORE,
        ),
    ] = False,
    secrets: Annotated[
        bool,
        typer.Option(
            "--secrets",
            help="Train another model like this one, on its text with made-up secrets (canaries) planted in it, and "
            "measure which can be extracted; alone, nothing else is measured.",
            rich_help_panel=_MORE,
        ),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Plot how often predictions are right against their probability: .png, .svg or .pdf.",
            metavar="FILE",
            rich_help_panel=_MORE,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help=DEVICES_HELP, metavar="DEVICE")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    adapt: Annotated[bool, typer.Option("--adapt", hidden=True)] = False,
    offers: Annotated[bool, typer.Option("--offers", hidden=True)] = False,
    memory: Annotated[bool, typer.Option("--memory", hidden=True)] = False,
) -> None:
    """Measure how well a model predicts text.

    Without options: bits per byte, perplexity, accuracy of the next token and calibration. With --pairs alone, only the
    pairs are scored.
    """
    from gru_complete.model.directory import load_model

    # Hidden options are the old spellings of those that they are joined to.
    wanted = Measures(
        online or adapt, marginal, suggestions or offers, effective_context or memory, novelty, keystrokes
    )
    console: Console = context.obj
    loaded = load_model(choose_model(console, model))
    from gru_complete.evaluation.pairs import evaluate_pairs, read_pairs
    from gru_complete.evaluation.report import network_from_model
    from gru_complete.training.device import choose_device

    minimal_pairs = None if pairs is None else read_pairs(pairs)
    known = None
    if secrets:  # first, since it may be refused
        from gru_complete.evaluation.planting import find_training

        known = find_training(loaded, device=device)
    if plot is not None:
        from gru_complete.evaluation.plots import check_plot

        check_plot(plot)
    network = network_from_model(loaded, choose_device(device))
    report = None
    if corpus or any(wanted) or plot is not None or (pairs is None and not secrets):
        with _text(loaded, corpus or []) as text:
            report = _report(console, loaded, network, text, wanted)
    scored = None
    if minimal_pairs is not None:
        minimal_pairs = [pair.in_form(loaded.manifest.normal_form) for pair in minimal_pairs]
        scored = evaluate_pairs(network, loaded.tokenizer, minimal_pairs, mixture=loaded.mixture)
    canaries = None if known is None else _train_with_canaries(console, known)
    results = Results(loaded.path.name, report, scored, canaries)
    if as_json:
        console.write(json_line(results.to_json()))
    else:
        results.print(console, is_online=wanted.online)
    if plot is not None and report is not None:  # after the results, which a failure cannot cost then
        _draw(report, plot, name=loaded.path.name)


class Measures(NamedTuple):
    """What to measure of a text besides its static cost."""

    online: bool
    marginal: bool
    suggestions: bool
    effective_context: bool
    novelty: bool
    keystrokes: bool


class Results(NamedTuple):
    """What was measured.

    Attributes:
        name: of the model.
        report: about the text, if one was scored.
        pairs: how often the right text of a minimal pair is more likely.
        canaries: how exposed planted secrets are.
    """

    name: str
    report: "EvaluationReport | None"
    pairs: "PairsReport | None"
    canaries: "CanaryReport | None"

    def to_json(self) -> dict[str, Any]:
        """What ``--json`` prints; keys are only ever added."""
        record: dict[str, Any] = {"model": self.name}
        record |= {} if self.report is None else self.report.to_json()
        record |= {} if self.pairs is None else {"pairs": self.pairs.to_json()}
        record |= {} if self.canaries is None else {"secrets": self.canaries.to_json()}
        return record

    def print(self, console: "Console", *, is_online: bool) -> None:
        """Print a table for each measure."""
        from gru_complete.cli import tables

        report = self.report
        if report is not None:
            console.print_table(tables.report_table(report, name=self.name))
            if is_online:
                console.print_table(tables.online_table(report))
            if report.suggestions is not None:
                console.print_table(tables.suggestions_table(report.suggestions))
            if report.gradients is not None:
                console.print_table(tables.gradient_table(report.gradients))
                console.print_table(tables.context_table(report.gradients))
            if report.novelty is not None:
                console.print_table(tables.novelty_table(report.novelty))
        if self.pairs is not None:
            console.print_table(tables.pairs_table(self.pairs))
        if self.canaries is not None:
            console.print_table(tables.canary_table(self.canaries))
            console.write(f"{self.canaries.conclusion}\n".encode())


def _report(
    console: "Console",
    loaded: "LoadedModel",
    network: "LanguageModel",
    text: "tuple[TokenIds, ShardHeader]",
    wanted: Measures,
) -> "EvaluationReport":
    """Score the text, and measure what else is wanted; what may be refused comes first."""
    from gru_complete.evaluation.baselines import measure_xz
    from gru_complete.evaluation.gradients import CONTEXT_LENGTHS, measure_gradients
    from gru_complete.evaluation.marginal import SAMPLE_BYTES
    from gru_complete.evaluation.report import evaluate as score
    from gru_complete.evaluation.report import measure_keystrokes, measure_marginal, measure_suggestions
    from gru_complete.evaluation.suggestions import NUM_POSITIONS

    stream, header = text
    novelty = _novelty(console, loaded, stream) if wanted.novelty else None
    report = score(network, stream, header, mixture=loaded.mixture, online=wanted.online)
    report = replace(report, novelty=novelty, xz_bits_per_byte=measure_xz(loaded, stream, header.num_bytes))
    if wanted.keystrokes:
        report = replace(
            report, keystrokes=measure_keystrokes(loaded, stream, partial(work_bar, console, "keystrokes"))
        )
    if wanted.marginal:
        with work_bar(console, "summing", min(SAMPLE_BYTES, header.num_bytes)) as progress:
            report = replace(report, marginal=measure_marginal(loaded, stream, progress=progress))
    if wanted.suggestions:
        with work_bar(console, "suggestions", min(NUM_POSITIONS, header.num_chars)) as progress:
            report = replace(report, suggestions=measure_suggestions(loaded, stream, progress=progress))
    if wanted.effective_context:
        with work_bar(console, "effective context", len(CONTEXT_LENGTHS)) as progress:
            report = replace(report, gradients=measure_gradients(network, stream, progress=progress))
    return report


def _novelty(console: "Console", loaded: "LoadedModel", stream: "TokenIds") -> "NoveltyReport":
    """Let the model write, and find what it copied."""
    from gru_complete.evaluation.novelty import NUM_TEXTS, evaluate_novelty
    from gru_complete.training.base import original_base

    base = original_base(loaded)
    num_writers = 1 + (loaded.mixture is not None) + (base is not None)
    with work_bar(console, "writing", NUM_TEXTS * num_writers) as progress:
        return evaluate_novelty(loaded, stream, base=base, progress=progress)


def _draw(report: "EvaluationReport", plot: Path, *, name: str) -> None:
    """Plot the reliability diagram of the predictions."""
    from gru_complete.evaluation.plots import draw_calibration

    if report.calibration is not None:
        draw_calibration(report.calibration, plot, name=name)


def _train_with_canaries(console: "Console", known: "OriginalTraining") -> "CanaryReport":
    """Train a model with planted secrets, in a directory that is gone afterwards, and rank the secrets.

    Raises:
        InterruptedRun: a signal came; nothing is kept.
    """
    import tempfile  # here, so that other commands need not wait for it
    from contextlib import closing

    from gru_complete.cli.display import TrainingDisplay
    from gru_complete.cli.signals import StopNow, StopSignals
    from gru_complete.evaluation.planting import NUM_CANARIES, CanaryModel, rank_canaries, train_with_canaries
    from gru_complete.training import events

    already_shown = events.CorpusRead | events.SecretsFound | events.Finished  # when the user trained the model
    planted = None
    try:
        # The directory holds the text, so that a signal has to end this block, not the process.
        with StopSignals(), tempfile.TemporaryDirectory(prefix="gru-complete-") as name:
            display = TrainingDisplay(console, is_quiet=not console.is_animated)
            with display, closing(train_with_canaries(known, Path(name))) as training:
                for event in training:
                    if isinstance(event, CanaryModel):
                        planted = event
                    elif isinstance(event, events.Evaluated):
                        display.show(replace(event, checkpoint=None))  # no sample: it might quote the text
                    elif not isinstance(event, already_shown):
                        display.show(event)
            assert planted is not None
            with work_bar(console, "ranking", NUM_CANARIES) as progress:
                return rank_canaries(planted, progress=progress)
    except StopNow as stopped:
        raise stopped.as_error() from None


@contextmanager
def _text(loaded: "LoadedModel", corpus: list[str]) -> "Iterator[tuple[TokenIds, ShardHeader]]":
    """The text to score as a stream of tokens, with its facts; without a corpus, the held-out split of training.

    Raises:
        InterruptedRun: a signal came while the text was read.
    """
    import tempfile  # here, so that other commands need not wait for it

    from gru_complete.cli.signals import StopNow, StopSignals
    from gru_complete.evaluation.report import read_held_out
    from gru_complete.evaluation.text_to_score import tokenize_sources

    if not corpus:
        yield read_held_out(loaded)
        return
    stdin = None if sys.stdin is None else sys.stdin.buffer
    try:
        # The directory holds the text, so that a signal has to end this block, not the process.
        with StopSignals(), tempfile.TemporaryDirectory(prefix="gru-complete-") as name:
            yield tokenize_sources(corpus, loaded, Path(name), stdin=stdin)
    except StopNow as stopped:
        raise stopped.as_error() from None
