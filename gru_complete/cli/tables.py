"""The tables that commands print, each made of one report."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from gru_complete.errors import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions

    from gru_complete.comparison.recall import RecallResult
    from gru_complete.comparison.results import CellResult
    from gru_complete.evaluation.canaries import CanaryReport
    from gru_complete.evaluation.gradients import GradientReport
    from gru_complete.evaluation.intervals import Interval
    from gru_complete.evaluation.novelty import NoveltyReport
    from gru_complete.evaluation.pairs import PairsReport
    from gru_complete.evaluation.report import EvaluationReport
    from gru_complete.evaluation.suggestions import SuggestionsReport
    from gru_complete.inspection.agreement import Agreement
    from gru_complete.inspection.features import FeatureReport
    from gru_complete.inspection.probes import Unit

OTHER_COSTS = {
    "adapted": "adapted: learning phrases as it reads",
    "gru_only": "static, the network alone",
    "ngrams_only": "static, the n-gram model alone",
}
"""Keys of ``eval --json`` that are rows of the table, with the names of the rows."""


def new_table(first_heading: "str | Text", *headings: str) -> Table:
    """An empty table whose first column is words, the others numbers."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(first_heading)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def with_interval(interval: "Interval", *, factor: float, digits: int) -> str:
    """A figure times ``factor``, with the ends of its 95 % interval in brackets if they are known."""
    value, low, high = (f"{factor * figure:.{digits}f}" for figure in interval)
    return f"{value} ({low}..{high})" if math.isfinite(interval.low) else value


# ---------------------------------------------------------------------------------------- eval


def report_table(report: "EvaluationReport", *, name: str) -> Table:
    """What a text costs under a model, and how often its predictions are right."""
    figures = report.to_json()
    table = new_table(Text(printable(name)), f"{report.num_bytes:,} bytes")
    for row in _cost_rows(report, figures):
        table.add_row(*row)
    table.add_row("perplexity per token", f"{report.perplexity:.2f}")
    for rank in (1, 3, 5):
        label = f"next token among the first {rank}" if rank > 1 else "next token first"
        table.add_row(label, f"{figures['next_token'][f'top{rank}']:.1%}")
    if report.calibration is not None:
        table.add_row("calibration error of next tokens", f"{report.calibration.expected_error:.1%}")
    for row in _keystroke_rows(report):
        table.add_row(*row)
    table.add_row("tokens", f"{figures['num_tokens']:,}")
    table.add_row("tokens per second", f"{figures['tokens_per_second']:,.0f}")
    return table


def _cost_rows(report: "EvaluationReport", figures: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Bits per byte and nats per character: static, adapted, and of the baselines."""
    yield "bits per byte, static", f"{report.bits_per_byte:.4f}"
    for key, name in OTHER_COSTS.items():
        if key in figures:
            yield f"  {name}", f"{figures[key]['bits_per_byte']:.4f}"
    if report.xz_bits_per_byte is not None:
        yield "  xz, after the end of the training text", f"{report.xz_bits_per_byte:.4f}"
    yield "nats per character, static", f"{report.nats_per_char:.4f}"
    if "adapted" in figures:
        yield "  adapted", f"{figures['adapted']['nats_per_char']:.4f}"
    if report.marginal is not None:
        part = report.marginal
        name = f"first {part.num_bytes:,} bytes" if part.num_bytes < report.num_bytes else "all bytes"
        yield f"bits per byte, static, {name}", f"{part.one_segmentation_bits_per_byte:.4f}"
        yield "  summed over segmentations", f"{part.bits_per_byte:.4f}"


def _keystroke_rows(report: "EvaluationReport") -> Iterator[tuple[str, str]]:
    """What suggestions are worth to a simulated user, if that was measured."""
    if report.keystrokes is None:
        return
    for rank, share in report.keystrokes.next_word.items():
        name = f"next word among the first {rank}, %" if rank > 1 else "next word first, %"
        yield name, with_interval(share, factor=100, digits=1)
    for number, share in report.keystrokes.savings.items():
        name = f"keys saved with {number} suggestions, %" if number > 1 else "keys saved with 1 suggestion, %"
        yield name, with_interval(share, factor=100, digits=1)
    yield "words simulated", f"{report.keystrokes.num_words:,}"


def online_table(report: "EvaluationReport") -> Table:
    """What the text costs under each set of ways to learn from it as it is read."""
    figures = report.to_json()
    headings = ("bits per byte", "gain", "microseconds per token")
    table = new_table("learning from the text as it is read", *headings)
    for name in report.online_costs:
        bits_per_byte, microseconds = figures[name]["bits_per_byte"], figures[name]["microseconds_per_token"]
        gain = figures["static"]["bits_per_byte"] - bits_per_byte
        table.add_row(
            name.replace("_", " + "),
            f"{bits_per_byte:.4f}",
            "" if name == "static" else f"{gain:.4f}",
            f"{microseconds:,.0f}",
        )
    return table


def suggestions_table(report: "SuggestionsReport") -> Table:
    """How often suggestions are made and right, by the probability that they must have."""
    table = new_table(
        "probability\nat least",
        f"of {report.num_positions:,} places\nwith an offer, %",
        "of offers\nright, %",
        "characters\nin an offer",
        "characters saved\nper place",
    )
    for tradeoff in report.tradeoffs:
        table.add_row(
            f"{tradeoff.confidence:g}",
            with_interval(tradeoff.suggested, factor=100, digits=1),
            with_interval(tradeoff.accepted, factor=100, digits=1) if tradeoff.suggested.value else "",
            f"{tradeoff.mean_length:.1f}" if tradeoff.suggested.value else "",
            with_interval(tradeoff.saved, factor=1, digits=2),
        )
    return table


def gradient_table(report: "GradientReport") -> Table:
    """After how many tokens half of each layer's gradient is gone, before and after training."""
    table = new_table("half-life of the gradient, tokens", "fresh", "trained")
    beyond = f"> {len(report.trained.shares[0]) - 1}"
    for layer, lives in enumerate(zip(report.at_start.half_lives, report.trained.half_lives, strict=True), start=1):
        table.add_row(f"layer {layer}", *(f"{life:.1f}" if math.isfinite(life) else beyond for life in lives))
    return table


def context_table(report: "GradientReport") -> Table:
    """What predictions cost if all but the last tokens are forgotten."""
    context = report.context
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("only the last tokens kept", justify="right")
    table.add_column(f"extra nats per token ({context.full_nats:.3f} with all)", justify="right")
    for kept, extra in context.extra_nats.items():
        table.add_row(f"{kept:,}", with_interval(extra, factor=1, digits=3))
    matters = context.matters_up_to
    table.caption = "more than all of these matter" if matters is None else f"up to {matters:,} tokens matter"
    return table


def novelty_table(report: "NoveltyReport") -> Table:
    """How much of what the model and what people write occurs word for word in the corpus."""
    from gru_complete.evaluation.novelty import RUN_LENGTHS

    writers = {
        "written": report.generated,
        "by the network alone": report.generated_by_network,
        "by the base": report.generated_by_base,
        "by people (held out)": report.held_out,
    }
    copied = {name: figures for name, figures in writers.items() if figures is not None}
    held_out = report.held_out
    heading = f"verbatim in the corpus,\n{held_out.num_texts} texts, {held_out.num_words:,} words"
    table = new_table(heading, *copied)
    longest = (with_interval(figures.longest_run, factor=1, digits=1) for figures in copied.values())
    table.add_row("longest run, words, mean", *longest)
    table.add_row("  of all texts", *(f"{figures.max_run:,}" for figures in copied.values()))
    for length in RUN_LENGTHS:
        shares = [figures.shares.get(length) for figures in copied.values()]
        cells = ("" if share is None else with_interval(share, factor=100, digits=1) for share in shares)
        table.add_row(f"of runs of {length} words, %", *cells)
    return table


def canary_table(report: "CanaryReport") -> Table:
    """How exposed planted secrets are, by how often each was planted."""
    from gru_complete.evaluation.canaries import exposure, exposure_by_chance

    headings, models = ["exposure,\nbits", "mean\nrank", "come\nfirst"], [report.levels]
    if report.network_levels is not None:
        headings += ["network\nalone: bits", "mean\nrank", "come\nfirst"]
        models.append(report.network_levels)
    table = new_table("secret planted,\ntimes", *headings)
    for index, level in enumerate(report.levels):
        cells: list[str] = []
        for levels in models:
            exposed = levels[index]
            cells += [f"{exposed.exposure:.1f}", f"{exposed.mean_rank:,.0f}"]
            cells += [f"{exposed.num_first} of {len(exposed.ranks)}"]
        table.add_row(f"{level.times}" if level.times else "0 (control)", *cells)
    by_chance, most = exposure_by_chance(), exposure(1)
    table.caption = f"after {report.steps:,} steps; by chance {by_chance:.1f} bits, at most {most:.1f}"
    return table


def pairs_table(report: "PairsReport") -> Table:
    """How often the right text of a minimal pair is the more likely one, by phenomenon and distance."""
    table = new_table("minimal pairs", "right", "pairs")
    table.add_row("all", f"{report.overall.accuracy:.1%}", f"{report.overall.num_pairs:,}")
    for name, score in report.by_phenomenon.items():
        table.add_row(Text(printable(name)), f"{score.accuracy:.1%}", f"{score.num_pairs:,}")
    for name, score in report.by_distance.items():
        table.add_row(Text(f"distance {name} words"), f"{score.accuracy:.1%}", f"{score.num_pairs:,}")
    return table


# ---------------------------------------------------------------------------------------- inspect


def follower_table(report: "FeatureReport | Agreement", *, num_layers: int) -> Table:
    """The units that track a feature, between what all units together and the more frequent answer predict."""
    from gru_complete.inspection.agreement import MAX_NEAR_WORDS, Agreement

    is_agreement = isinstance(report, Agreement)
    probe, examples = report.probe, "pairs" if is_agreement else "tokens"
    table = Table(box=box.SIMPLE_HEAD, title_justify="left")
    table.title = Text(
        f"{printable(report.feature)}\nchosen on {probe.num_fit:,} {examples}, tried on {probe.num_tried:,} others"
    )
    table.add_column("", no_wrap=True)
    table.add_column("right, %\n(95 % interval)", justify="right", no_wrap=True)
    headings = ["there and not there\nweighed alike, %"]
    if is_agreement:
        headings = [
            f"over {MAX_NEAR_WORDS}\nwords, %",
            "gate at\nthe cue",
            "gate on\nthe way",
            "closed all\nthe way, %",
        ]
    for heading in headings:
        table.add_column(heading, justify="right")
    for index, follower in enumerate(probe.followers):
        cells = [f"{100 * follower.balanced:.1f}"]
        if isinstance(report, Agreement):
            cells = _agreement_cells(report, index)
        table.add_row(_unit_name(follower.unit, num_layers), _percent(follower.accuracy), *cells)
    table.add_row("all, linear", _percent(probe.linear))
    table.add_row("the commoner", f"{100 * probe.majority:.1f}")
    return table


def _agreement_cells(report: "Agreement", index: int) -> list[str]:
    """How often one unit is right over long distances, and what its gate does between cue and word."""
    far, gate = report.far[index], report.gates[index]
    cells = ["" if far is None else f"{100 * far.value:.1f}"]
    if gate is None:
        return [*cells, "", "", ""]
    return [*cells, f"{gate.at_cue:.2f}", f"{gate.mean:.2f}", f"{100 * gate.closed:.0f}"]


def _unit_name(unit: "Unit", num_layers: int) -> str:
    kind = "cell" if unit.is_cell else "unit"
    return f"layer {unit.layer + 1} {kind} {unit.unit}" if num_layers > 1 else f"{kind} {unit.unit}"


def _percent(interval: "Interval") -> str:
    value, low, high = (f"{100 * figure:.1f}" for figure in interval)
    return f"{value} ({low}..{high})"


# ---------------------------------------------------------------------------------------- models


class ModelsTable:
    """The models in the home, as ``models list --json`` has them; on a narrow terminal, columns are left out.

    Args:
        records: one for each model.
    """

    COLUMNS = ("name", "", "date", "trained on", "bits per byte", "cell", "parameters", "MB")
    """The most important ones first."""

    def __init__(self, records: Sequence[Mapping[str, Any]]) -> None:
        self.rows = [_model_cells(record) for record in records]

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[Table]":
        """The table with as many columns as fit."""
        for number in range(len(self.COLUMNS), 0, -1):
            table = self._table(number)
            if number == 1 or console.measure(table, options=options.update(width=10_000)).maximum <= options.max_width:
                yield table
                return

    def _table(self, num_columns: int) -> Table:
        table = Table(box=box.SIMPLE_HEAD)
        for heading in self.COLUMNS[:num_columns]:
            is_text = heading in ("name", "", "date", "cell")
            table.add_column(heading, justify="left" if is_text else "right", overflow="fold")
        for row in self.rows:
            table.add_row(*(Text(cell) for cell in row[:num_columns]))
        return table


def _model_cells(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The cells of a model, for ``ModelsTable.COLUMNS``."""
    notes = [what for key, what in (("default", "default"), ("built_in", "built in")) if record.get(key)]
    notes += ["damaged"] if "problem" in record else [] if record["finished"] else ["unfinished"]

    def number(key: str, form: str, unit: float = 1) -> str:
        return format(record[key] / unit, form) if record.get(key) is not None else ""

    return (
        printable(record["name"]),
        ", ".join(notes),
        record.get("written", "")[:10],
        _amount(record.get("num_training_bytes")),
        number("bits_per_byte", ".3f"),
        record.get("cell", ""),
        number("num_parameters", ",.0f"),
        number("bytes", ",.1f", 1e6),
    )


def _amount(num_bytes: int | None) -> str:
    """An amount of text, in the unit that suits it."""
    if num_bytes is None:
        return ""
    return f"{num_bytes / 1e6:,.1f} MB" if num_bytes >= 1_000_000 else f"{num_bytes / 1e3:.0f} kB"


# ---------------------------------------------------------------------------------------- recall and compare


def recall_table(task: str, length: int, results: "Sequence[tuple[Mapping[str, Any], RecallResult]]") -> Table:
    """How often cells are right on a recall task.

    Args:
        task: its name.
        length: how many steps to remember for.
        results: of each cell, its settings and what came out.
    """
    headings = ("right, %", "by chance, %", "learnt up to", "updates", "seconds")
    table = new_table(f"{task}, {length:,} steps", *headings)
    for settings, result in results:
        value, low, high = (100 * figure for figure in result.right)
        table.add_row(
            settings["cell"] + ("" if settings["chrono_length"] is None else ", chrono"),
            f"{value:.1f} ({low:.1f}..{high:.1f})",
            f"{100 * result.chance:.1f}",
            f"{result.learnt_length:,}",
            f"{result.updates:,}",
            f"{result.seconds:,.0f}",
        )
    return table


def comparison_table(results: "Sequence[CellResult]") -> Table:
    """Cells side by side, a column for each; a cell whose training diverged has its sizes only."""
    from gru_complete.comparison.claims import shown_half_life

    table = new_table("", *(result.cell.replace("-", "-\n", 1) for result in results))

    def row(name: str, figure: "Callable[[CellResult], str]") -> None:
        cells = ["diverged" if result.diverged is not None else figure(result) for result in results]
        table.add_row(name, *cells)

    table.add_row("width", *(f"{result.hidden_size:,}" for result in results))
    table.add_row("parameters", *(f"{result.num_parameters:,}" for result in results))
    table.add_row("  of the cells", *(f"{result.num_cell_parameters:,}" for result in results))
    row("steps", lambda result: f"{result.steps:,}")
    row("training, tokens/s", lambda result: _number(result.training_tokens_per_second))
    row("completion, tokens/s", lambda result: _number(result.completion_tokens_per_second))
    row("bits per byte", lambda result: f"{result.bits_per_byte:.4f}")
    for name, accuracy in _pair_rows(results):
        row(name, accuracy)
    if any(result.trained for result in results):
        table.add_row("half-life of the gradient, tokens")
        row("  as training begins", lambda result: shown_half_life(result.at_start))
        row("  after training", lambda result: shown_half_life(result.trained))
    if lengths := [result.recall["length"] for result in results if result.recall]:
        row(f"copied over {lengths[0]:,} steps, %", _recalled)
    return table


def _pair_rows(results: "Sequence[CellResult]") -> "Iterator[tuple[str, Callable[[CellResult], str]]]":
    """The rows about minimal pairs, if there were any: each a name, and what to show of a cell."""
    from gru_complete.comparison.results import MIN_FAR_WORDS
    from gru_complete.evaluation.pairs import DISTANCE_LABELS

    labels = [label for label in DISTANCE_LABELS if any(label in _by_distance(result) for result in results)]
    if not labels:
        return
    yield "pairs right, %", lambda result: _accuracy(result.pairs)
    for label in labels:
        yield f"  distance {label} words", partial(_accuracy_at, label)
    yield f"  distance {MIN_FAR_WORDS} and more", lambda result: _accuracy(result.pairs and result.pairs["far"])


def _by_distance(result: "CellResult") -> Mapping[str, Any]:
    return {} if result.pairs is None else result.pairs["by_distance"]


def _accuracy_at(label: str, result: "CellResult") -> str:
    return _accuracy(_by_distance(result).get(label))


def _accuracy(score: Mapping[str, Any] | None) -> str:
    return "" if not score else f"{100 * score['accuracy']:.1f}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else ""


def _recalled(result: "CellResult") -> str:
    return "" if result.recall is None else f"{100 * result.recall['right'][0]:.1f}"
