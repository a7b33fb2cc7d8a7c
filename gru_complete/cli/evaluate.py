"""`eval`: how well a model predicts a text that it has not seen."""

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gru_complete.cli.options import ModelOption
from gru_complete.errors import InterruptedRun, printable

if TYPE_CHECKING:
    from gru_complete.arrays import TokenIds
    from gru_complete.cli.console import Console
    from gru_complete.evaluation.canaries import CanaryReport
    from gru_complete.evaluation.gradients import GradientReport
    from gru_complete.evaluation.intervals import Interval
    from gru_complete.evaluation.novelty import NoveltyReport
    from gru_complete.evaluation.pairs import PairsReport
    from gru_complete.evaluation.planting import OriginalTraining
    from gru_complete.evaluation.report import EvaluationReport
    from gru_complete.evaluation.suggestions import SuggestionsReport
    from gru_complete.model.directory import LoadedModel
    from gru_complete.nn.language_model import LanguageModel
    from gru_complete.text.shards import ShardHeader

OTHER_COSTS = {
    "adapted": "adapted: learning phrases as it reads",
    "gru_only": "static, the network alone",
    "ngrams_only": "static, the counts alone",
}


def evaluate(
    context: typer.Context,
    corpus: Annotated[
        list[str] | None,
        typer.Argument(help="Text to score; default: the held-out part of the training corpus.", metavar="[CORPUS]..."),
    ] = None,
    model: ModelOption = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="Minimal pairs, one JSON object per line; alone, only they are scored.", metavar="FILE"),
    ] = None,
    adapt: Annotated[
        bool, typer.Option("--adapt", help="Also score all ways to learn from the text as it is read; this is slow.")
    ] = False,
    marginal: Annotated[
        bool,
        typer.Option("--marginal", help="Also score the beginning summed over all ways to cut the text into tokens."),
    ] = False,
    offers: Annotated[
        bool,
        typer.Option("--offers", help="Also say how often offers with a probability of at least P are right."),
    ] = False,
    memory: Annotated[
        bool, typer.Option("--memory", help="Also say how far back the network remembers: gradients and context.")
    ] = False,
    novelty: Annotated[
        bool,
        typer.Option("--novelty", help="Also say how much of what the model writes stands in its corpus."),
    ] = False,
    keystrokes: Annotated[
        bool,
        typer.Option("--keystrokes", help="Also let a simulated user write 2,000 words: keys saved, next words right."),
    ] = False,
    secrets: Annotated[
        bool,
        typer.Option(
            "--secrets",
            help="Train another model like this one, on its text with made-up secrets in it, and say which come out; "
            "alone, only that is done.",
        ),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw how often the model is right over how sure it is (.png or .svg).", metavar="FILE"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.", metavar="DEVICE")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say how well a model predicts text: bits per byte and what goes with them."""
    from gru_complete.model.directory import load_model
    from gru_complete.model.home import find_model

    loaded = load_model(find_model(model))
    from gru_complete.evaluation.pairs import evaluate_pairs, read_pairs
    from gru_complete.evaluation.report import network_from_model
    from gru_complete.training.device import choose_device

    read = None if pairs is None else read_pairs(pairs)
    known = None
    if secrets:  # first, since it may be refused
        from gru_complete.evaluation.planting import find_training

        known = find_training(loaded, device=device)
    if plot is not None:
        from gru_complete.evaluation.plots import check_plot, draw_calibration

        check_plot(plot)
    place = choose_device(device)
    module = network_from_model(loaded, place)
    console: Console = context.obj
    report = None
    of_text = (corpus, adapt, marginal, offers, memory, novelty, keystrokes, plot)
    if any(of_text) or (read is None and known is None):
        with _text(loaded, corpus or []) as text:
            copied = _novelty(console, loaded, text) if novelty else None  # first, since it may be refused
            report = _report(
                console,
                loaded,
                module,
                text,
                adapt=adapt,
                marginal=marginal,
                offers=offers,
                memory=memory,
                keystrokes=keystrokes,
            )
            report = replace(report, novelty=copied)
        if plot is not None and report.calibration is not None:
            draw_calibration(report.calibration, plot, name=loaded.path.name)
    pairs_report = None if read is None else evaluate_pairs(module, loaded.tokenizer, read, mixture=loaded.mixture)
    canaries = None if known is None else _secrets(console, known)
    if as_json:
        record: dict[str, Any] = {"model": loaded.path.name}
        record |= {} if report is None else report.to_json()
        record |= {} if pairs_report is None else {"pairs": pairs_report.to_json()}
        record |= {} if canaries is None else {"secrets": canaries.to_json()}
        console.write(json.dumps(record).encode() + b"\n")
        return
    if report is not None:
        _print_report(console, loaded, report)
        if adapt:
            _print_adapting(console, report)
        if report.suggestions is not None:
            _print_offers(console, report.suggestions)
        if report.gradients is not None:
            _print_memory(console, report.gradients)
        if report.novelty is not None:
            _print_novelty(console, report.novelty)
    if pairs_report is not None:
        _print_pairs(console, pairs_report)
    if canaries is not None:
        _print_secrets(console, canaries)


def _report(
    console: "Console",
    loaded: "LoadedModel",
    module: "LanguageModel",
    text: "tuple[TokenIds, ShardHeader]",
    *,
    adapt: bool,
    marginal: bool,
    offers: bool,
    memory: bool,
    keystrokes: bool,
) -> "EvaluationReport":
    from gru_complete.evaluation.baselines import measure_xz
    from gru_complete.evaluation.gradients import CONTEXT_LENGTHS, measure_gradients
    from gru_complete.evaluation.marginal import SAMPLE_BYTES
    from gru_complete.evaluation.report import evaluate as score
    from gru_complete.evaluation.report import measure_keystrokes, measure_marginal, measure_suggestions
    from gru_complete.evaluation.suggestions import NUM_POSITIONS

    stream, header = text
    report = score(module, stream, header, mixture=loaded.mixture, online=adapt)
    report = replace(report, xz_bits_per_byte=measure_xz(loaded, stream, header.num_bytes))
    if keystrokes:
        report = replace(
            report, keystrokes=measure_keystrokes(loaded, stream, partial(_progress, console, "keystrokes"))
        )
    if marginal:
        with _progress(console, "summing", min(SAMPLE_BYTES, header.num_bytes)) as progress:
            report = replace(report, marginal=measure_marginal(loaded, stream, progress=progress))
    if offers:
        with _progress(console, "offers", min(NUM_POSITIONS, header.num_chars)) as progress:
            report = replace(report, suggestions=measure_suggestions(loaded, stream, progress=progress))
    if memory:
        with _progress(console, "memory", len(CONTEXT_LENGTHS)) as progress:
            report = replace(report, gradients=measure_gradients(module, stream, progress=progress))
    return report


def _novelty(console: "Console", loaded: "LoadedModel", text: "tuple[TokenIds, ShardHeader]") -> "NoveltyReport":
    from gru_complete.evaluation.novelty import NUM_TEXTS, evaluate_novelty

    with _progress(console, "writing", NUM_TEXTS * (1 if loaded.mixture is None else 2)) as progress:
        return evaluate_novelty(loaded, text[0], progress=progress)


def _secrets(console: "Console", known: "OriginalTraining") -> "CanaryReport":
    """Train with canaries, in a directory that is gone afterwards, and look for them."""
    import tempfile  # here, so that other commands need not wait for it
    from contextlib import closing

    from gru_complete.cli.signals import StopNow, StopSignals
    from gru_complete.cli.train import Display
    from gru_complete.evaluation.planting import NUM_CANARIES, CanaryModel, rank_canaries, train_with_canaries
    from gru_complete.training import events

    display = Display(console, is_quiet=not console.is_animated)
    untold = events.CorpusRead | events.SecretsFound | events.Finished  # of the text the user has been told before
    planted = None
    try:
        # The directory holds the text, so that a signal has to end this block, not the process.
        with StopSignals(), tempfile.TemporaryDirectory(prefix="gru-complete-") as name:
            with display, closing(train_with_canaries(known, Path(name))) as training:
                for event in training:
                    if isinstance(event, CanaryModel):
                        planted = event
                    elif isinstance(event, events.Evaluated):
                        display.show(replace(event, checkpoint=None))  # what the model writes is not of interest here
                    elif not isinstance(event, untold):
                        display.show(event)
            assert planted is not None
            with _progress(console, "ranking", NUM_CANARIES) as progress:
                return rank_canaries(planted, progress=progress)
    except StopNow as stopped:
        raise InterruptedRun("interrupted", signal_number=stopped.signal_number) from None


@contextmanager
def _progress(console: "Console", what: str, total: int) -> "Iterator[Callable[[int], object] | None]":
    """Show on a terminal how far some work is; yields what is to be told how much more was done."""
    if not console.is_animated:
        yield None
        return
    from tqdm import tqdm

    from gru_complete.cli.train import BAR_FORMAT

    bar_format = f"{{desc}}: {BAR_FORMAT}"
    with tqdm(desc=what, total=total, bar_format=bar_format, dynamic_ncols=True, leave=False, file=sys.stderr) as bar:
        yield bar.update


@contextmanager
def _text(loaded: "LoadedModel", corpus: list[str]) -> "Iterator[tuple[TokenIds, ShardHeader]]":
    """The text to score, as tokens; without a corpus, what training held out."""
    import tempfile  # here, so that other commands need not wait for it

    from gru_complete.cli.signals import StopNow, StopSignals
    from gru_complete.config import DataConfig
    from gru_complete.evaluation.report import read_held_out
    from gru_complete.text.corpus import read_blocks
    from gru_complete.text.shards import read_shard, write_shard
    from gru_complete.training.tokenized_corpus import spooled

    if not corpus:
        yield read_held_out(loaded)
        return
    stdin = None if sys.stdin is None else sys.stdin.buffer
    try:
        # The directory holds the text, so that a signal has to end this block, not the process.
        with StopSignals(), tempfile.TemporaryDirectory(prefix="gru-complete-") as name:
            directory = Path(name)
            path = directory / "text.tokens"
            with spooled(corpus, directory, DataConfig(), stdin=stdin) as (spool_path, spool):
                starts = [0, *spool.document_ends[:-1]]
                texts = (read_blocks(spool_path, *part) for part in zip(starts, spool.document_ends, strict=True))
                write_shard(path, texts, loaded.tokenizer, corpus_sha256=spool.report.sha256)
            yield read_shard(path)
    except StopNow as stopped:
        raise InterruptedRun("interrupted", signal_number=stopped.signal_number) from None


def _print_report(console: "Console", loaded: "LoadedModel", report: "EvaluationReport") -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    figures = report.to_json()
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(Text(printable(loaded.path.name)))
    table.add_column(f"{report.num_bytes:,} bytes", justify="right")
    table.add_row("bits per byte, static", f"{report.bits_per_byte:.4f}")
    for key, name in OTHER_COSTS.items():
        if key in figures:
            table.add_row(f"  {name}", f"{figures[key]['bits_per_byte']:.4f}")
    if report.xz_bits_per_byte is not None:
        table.add_row("  xz, after the end of the training text", f"{report.xz_bits_per_byte:.4f}")
    table.add_row("nats per character, static", f"{report.nats_per_char:.4f}")
    if "adapted" in figures:
        table.add_row("  adapted", f"{figures['adapted']['nats_per_char']:.4f}")
    if report.marginal is not None:
        part = report.marginal
        name = f"first {part.num_bytes:,} bytes" if part.num_bytes < report.num_bytes else "all bytes"
        table.add_row(f"bits per byte, static, {name}", f"{part.one_segmentation_bits_per_byte:.4f}")
        table.add_row("  summed over segmentations", f"{part.bits_per_byte:.4f}")
    table.add_row("perplexity per token", f"{report.perplexity:.2f}")
    for rank in (1, 3, 5):
        table.add_row(
            f"next token among the first {rank}" if rank > 1 else "next token first",
            f"{figures['next_token'][f'top{rank}']:.1%}",
        )
    if report.calibration is not None:
        table.add_row("calibration error of next tokens", f"{report.calibration.expected_error:.1%}")
    if report.keystrokes is not None:
        for rank, share in report.keystrokes.next_word.items():
            name = f"next word among the first {rank}, %" if rank > 1 else "next word first, %"
            table.add_row(name, _interval(share, 100, 1))
        for number, share in report.keystrokes.savings.items():
            name = f"keys saved with {number} suggestions, %" if number > 1 else "keys saved with 1 suggestion, %"
            table.add_row(name, _interval(share, 100, 1))
        table.add_row("words looked at", f"{report.keystrokes.num_words:,}")
    table.add_row("tokens", f"{figures['num_tokens']:,}")
    table.add_row("tokens per second", f"{figures['tokens_per_second']:,.0f}")
    console.print_table(table)


def _print_adapting(console: "Console", report: "EvaluationReport") -> None:
    from rich import box
    from rich.table import Table

    figures = report.to_json()
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("learning from the text as it is read")
    for heading in ("bits per byte", "gain", "microseconds per token"):
        table.add_column(heading, justify="right")
    for name in report.online_costs:
        bits_per_byte, microseconds = figures[name]["bits_per_byte"], figures[name]["microseconds_per_token"]
        gain = figures["static"]["bits_per_byte"] - bits_per_byte
        table.add_row(
            name.replace("_", " + "),
            f"{bits_per_byte:.4f}",
            "" if name == "static" else f"{gain:.4f}",
            f"{microseconds:,.0f}",
        )
    console.print_table(table)


def _print_offers(console: "Console", report: "SuggestionsReport") -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("probability\nat least")
    for heading in (
        f"of {report.num_positions:,} places\nwith an offer, %",
        "of offers\nright, %",
        "characters\nin an offer",
        "characters saved\nper place",
    ):
        table.add_column(heading, justify="right")
    for tradeoff in report.tradeoffs:
        table.add_row(
            f"{tradeoff.confidence:g}",
            _interval(tradeoff.suggested, 100, 1),
            _interval(tradeoff.accepted, 100, 1) if tradeoff.suggested.value else "",
            f"{tradeoff.mean_length:.1f}" if tradeoff.suggested.value else "",
            _interval(tradeoff.saved, 1, 2),
        )
    console.print_table(table)


def _print_novelty(console: "Console", report: "NoveltyReport") -> None:
    from rich import box
    from rich.table import Table

    from gru_complete.evaluation.novelty import RUN_LENGTHS

    columns = {
        "written": report.generated,
        "by the network alone": report.generated_by_network,
        "by people (held out)": report.held_out,
    }
    known = {name: copied for name, copied in columns.items() if copied is not None}
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(f"standing in the corpus,\n{report.held_out.num_texts} texts, {report.held_out.num_words:,} words")
    for name in known:
        table.add_column(name, justify="right")
    table.add_row("longest run, words, mean", *(_interval(copied.longest_run, 1, 1) for copied in known.values()))
    table.add_row("  of all texts", *(f"{copied.max_run:,}" for copied in known.values()))
    for length in RUN_LENGTHS:
        shares = [copied.shares.get(length) for copied in known.values()]
        table.add_row(
            f"of runs of {length} words, %", *("" if share is None else _interval(share, 100, 1) for share in shares)
        )
    console.print_table(table)


def _print_secrets(console: "Console", report: "CanaryReport") -> None:
    from rich import box
    from rich.table import Table

    from gru_complete.evaluation.canaries import exposure, exposure_by_chance

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("secret planted,\ntimes")
    headings, models = ["exposure,\nbits", "mean\nrank", "come\nfirst"], [report.levels]
    if report.network_levels is not None:
        headings += ["network\nalone: bits", "mean\nrank", "come\nfirst"]
        models.append(report.network_levels)
    for heading in headings:
        table.add_column(heading, justify="right")
    for index, level in enumerate(report.levels):
        found = [levels[index] for levels in models]
        cells = [
            cell
            for one in found
            for cell in (f"{one.exposure:.1f}", f"{one.mean_rank:,.0f}", f"{one.num_first} of {len(one.ranks)}")
        ]
        table.add_row(f"{level.times}" if level.times else "0 (control)", *cells)
    table.caption = (
        f"after {report.steps:,} steps; by chance {exposure_by_chance():.1f} bits, at most {exposure(1):.1f}"
    )
    console.print_table(table)
    console.write(f"{report.conclusion}\n".encode())


def _interval(interval: "Interval", factor: float, digits: int) -> str:
    value, low, high = (f"{factor * figure:.{digits}f}" for figure in interval)
    return f"{value} ({low}..{high})" if math.isfinite(interval.low) else value


def _print_memory(console: "Console", report: "GradientReport") -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("half-life of the gradient, tokens")
    table.add_column("fresh", justify="right")
    table.add_column("trained", justify="right")
    for layer, lives in enumerate(zip(report.at_start.half_lives, report.trained.half_lives, strict=True), start=1):
        beyond = f"> {len(report.trained.shares[0]) - 1}"
        table.add_row(f"layer {layer}", *(f"{life:.1f}" if math.isfinite(life) else beyond for life in lives))
    console.print_table(table)
    context = report.context
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("only the last tokens kept", justify="right")
    table.add_column(f"extra nats per token ({context.full_nats:.3f} with all)", justify="right")
    for kept, extra in context.extra_nats.items():
        table.add_row(f"{kept:,}", _interval(extra, 1, 3))
    matters = context.matters_up_to
    table.caption = "more than all of these matter" if matters is None else f"up to {matters:,} tokens matter"
    console.print_table(table)


def _print_pairs(console: "Console", report: "PairsReport") -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("minimal pairs")
    table.add_column("right", justify="right")
    table.add_column("pairs", justify="right")
    table.add_row("all", f"{report.overall.accuracy:.1%}", f"{report.overall.num_pairs:,}")
    for name, score in report.by_phenomenon.items():
        table.add_row(Text(printable(name)), f"{score.accuracy:.1%}", f"{score.num_pairs:,}")
    for name, score in report.by_distance.items():
        table.add_row(Text(f"distance {name} words"), f"{score.accuracy:.1%}", f"{score.num_pairs:,}")
    console.print_table(table)
