"""`eval`: how well a model predicts a text that it has not seen."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gru_complete.cli.options import ModelOption
from gru_complete.errors import InterruptedRun
from gru_complete.files import shown

if TYPE_CHECKING:
    import torch

    from gru_complete.cli.console import Console
    from gru_complete.evaluation.pairs import PairsReport
    from gru_complete.evaluation.report import Report
    from gru_complete.model_dir import Model
    from gru_complete.nn.language_model import LanguageModel

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
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.", metavar="DEVICE")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say how well a model predicts text: bits per byte and what goes with them."""
    from gru_complete.model_dir import find_model, load_model

    loaded = load_model(find_model(model))
    from gru_complete.evaluation.pairs import evaluate_pairs, read_pairs
    from gru_complete.evaluation.report import language_model_of
    from gru_complete.training.run import choose_device

    read = None if pairs is None else read_pairs(pairs)
    place = choose_device(device)
    module = language_model_of(loaded, place)
    report = _report(loaded, module, corpus or [], place, adapt=adapt) if corpus or read is None else None
    pairs_report = None if read is None else evaluate_pairs(module, loaded.tokenizer, read, memory=loaded.memory)
    console: Console = context.obj
    if as_json:
        record: dict[str, Any] = {"model": loaded.path.name}
        record |= {} if report is None else report.to_json()
        record |= {} if pairs_report is None else {"pairs": pairs_report.to_json()}
        console.write(json.dumps(record).encode() + b"\n")
        return
    if report is not None:
        _print_report(console, loaded, report)
        if adapt:
            _print_adapting(console, report)
    if pairs_report is not None:
        _print_pairs(console, pairs_report)


def _report(
    loaded: "Model", module: "LanguageModel", corpus: list[str], device: "torch.device", *, adapt: bool
) -> "Report":
    import tempfile  # here, so that other commands need not wait for it

    from gru_complete.cli.signals import StopNow, StopSignals
    from gru_complete.config import DataConfig
    from gru_complete.evaluation.report import evaluate as score
    from gru_complete.evaluation.report import held_out_part
    from gru_complete.text.corpus import read_blocks
    from gru_complete.text.shards import read_shard, write_shard
    from gru_complete.training.preparation import spooled

    if not corpus:
        return score(module, *held_out_part(loaded), memory=loaded.memory, adapt=adapt, device=device)
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
            return score(module, *read_shard(path), memory=loaded.memory, adapt=adapt, device=device)
    except StopNow as stopped:
        raise InterruptedRun("interrupted", signal_number=stopped.signal_number) from None


def _print_report(console: "Console", loaded: "Model", report: "Report") -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    figures = report.to_json()
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(Text(shown(loaded.path.name)))
    table.add_column(f"{report.num_bytes:,} bytes", justify="right")
    table.add_row("bits per byte, static", f"{report.bits_per_byte:.4f}")
    for key, name in OTHER_COSTS.items():
        if key in figures:
            table.add_row(f"  {name}", f"{figures[key]['bits_per_byte']:.4f}")
    table.add_row("nats per character, static", f"{report.nats_per_char:.4f}")
    if "adapted" in figures:
        table.add_row("  adapted", f"{figures['adapted']['nats_per_char']:.4f}")
    table.add_row("perplexity per token", f"{report.perplexity:.2f}")
    for rank in (1, 3, 5):
        table.add_row(
            f"next token among the first {rank}" if rank > 1 else "next token first",
            f"{figures['next_token'][f'top{rank}']:.1%}",
        )
    table.add_row("tokens", f"{figures['num_tokens']:,}")
    table.add_row("tokens per second", f"{figures['tokens_per_second']:,.0f}")
    console.print_table(table)


def _print_adapting(console: "Console", report: "Report") -> None:
    from rich import box
    from rich.table import Table

    figures = report.to_json()
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("learning from the text as it is read")
    for heading in ("bits per byte", "gain", "microseconds per token"):
        table.add_column(heading, justify="right")
    for name in report.adapting:
        bits_per_byte, microseconds = figures[name]["bits_per_byte"], figures[name]["microseconds_per_token"]
        gain = figures["static"]["bits_per_byte"] - bits_per_byte
        table.add_row(
            name.replace("_", " + "),
            f"{bits_per_byte:.4f}",
            "" if name == "static" else f"{gain:.4f}",
            f"{microseconds:,.0f}",
        )
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
        table.add_row(Text(shown(name)), f"{score.accuracy:.1%}", f"{score.num_pairs:,}")
    for name, score in report.by_distance.items():
        table.add_row(Text(f"distance {name} words"), f"{score.accuracy:.1%}", f"{score.num_pairs:,}")
    console.print_table(table)
