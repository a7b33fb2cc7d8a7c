"""Pictures, with matplotlib where it is installed: readable in black and white, curves named where they end."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gru_complete import files
from gru_complete.errors import EnvironmentFailure, UsageError
from gru_complete.evaluation.calibration import Calibration
from gru_complete.evaluation.claims import shown_half_life
from gru_complete.evaluation.compare import CellResult
from gru_complete.evaluation.intervals import share_interval
from gru_complete.evaluation.pairs import DISTANCE_LABELS
from gru_complete.training.curve import LearningCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENDINGS = (".png", ".svg", ".pdf")
DOTS_PER_INCH = 150
GREY = "0.35"
CUT_SHARE = 5  # the first fifth of the looks may lie above the picture
LEAST_SHARE = 1e-3  # of the gradient, below which nothing is drawn
LABEL_GAP = 0.062  # of the height of the axes, between the names of two curves
SETTINGS: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "gru-complete",  # the same figures make the same file
}


class Style(NamedTuple):
    """How a curve is told from the others with colour and without: Okabe and Ito's colours, lines and markers."""

    color: str
    line: Any
    marker: str


STYLES = {
    "rnn": Style("#D55E00", ":", "x"),
    "rnn-relu": Style("#CC79A7", (0, (1, 2)), "+"),
    "gru-simple": Style("#56B4E9", "--", "^"),
    "gru": Style("#000000", "-", "o"),
    "gru-reset-after": Style("#0072B2", "-.", "s"),
    "lstm": Style("#009E73", (0, (6, 1.5)), "D"),
}


class Curve(NamedTuple):
    """A named curve."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def check_plot(path: Path) -> None:
    """Find out before any work whether a picture can be made there.

    Raises:
        UsageError: the name ends in no format that is known, or there is no such directory.
        EnvironmentFailure: matplotlib is not installed.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"--plot {files.shown(path)} does not end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    if not path.parent.is_dir():
        raise UsageError(f"--plot {files.shown(path)}: there is no such directory")
    if importlib.util.find_spec("matplotlib") is None:
        message = "pictures need matplotlib, which is not installed"
        raise EnvironmentFailure(message, hint="install it with: pip install matplotlib")


def draw_learning_curve(curve: LearningCurve, path: Path, *, title: str) -> None:
    """Draw loss and bits per byte over the steps, with the minutes above.

    Raises:
        EnvironmentFailure: the picture could not be written.
    """
    from matplotlib import rc_context

    with rc_context(SETTINGS):
        figure = _figure(7.0, 5.6)
        figure.suptitle(title)
        above, below = figure.subplots(2, 1, sharex=True)
        losses = Curve("loss", list(curve.losses), list(curve.losses.values()))
        above.plot(losses.x, losses.y, "k-")
        above.set_ylabel("loss, nats per token")
        above.set_title("training text (smoothed over 50 steps)", loc="left")
        looks = curve.looks
        below.plot([look.step for look in looks], [look.bits_per_byte for look in looks], "ko-", markersize=4)
        if looks:
            best = min(looks, key=lambda look: look.bits_per_byte)
            below.plot([best.step], [best.bits_per_byte], "o", color="black", markersize=9, markerfacecolor="none")
            below.annotate(
                f"best: {best.bits_per_byte:.3f}",
                (best.step, best.bits_per_byte),
                xytext=(-4, 9),
                textcoords="offset points",
                horizontalalignment="right",
            )
        below.set_ylabel("bits per byte")
        below.set_xlabel("step")
        below.set_title("tuning part, the network alone", loc="left")
        below.set_xlim(0, 1.01 * max([*curve.losses, *(look.step for look in looks)], default=1))
        if looks and looks[-1].seconds > 0:
            unit, name = _unit(looks[-1].seconds)
            per_step = looks[-1].seconds / looks[-1].step / unit
            above.secondary_xaxis(
                "top", functions=(lambda step: step * per_step, lambda time: time / per_step)
            ).set_xlabel(f"{name} of training")
        _save(figure, path)


def draw_comparison(results: Sequence[CellResult], path: Path, *, title: str) -> None:
    """Draw bits per byte over time, accuracy over distance and what is left of the gradient; what there is of these.

    Raises:
        EnvironmentFailure: the picture could not be written.
    """
    from matplotlib import rc_context

    results = [result for result in results if result.diverged is None]
    has_pairs = any(result.pairs for result in results)
    has_gradients = any(result.trained for result in results)
    with rc_context(SETTINGS):
        number = 1 + has_pairs + has_gradients
        figure = _figure(5.0 * number, 4.3)
        figure.suptitle(title)
        axes = iter(figure.subplots(1, number, squeeze=False)[0])
        _draw_looks(next(axes), results)
        if has_pairs:
            _draw_pairs(next(axes), results)
        if has_gradients:
            _draw_gradients(next(axes), results)
        _save(figure, path)


def _unit(seconds: float) -> tuple[int, str]:
    """In what so much time is shown: the unit in seconds, and its name."""
    return (60, "minutes") if seconds > 100 else (1, "seconds")


def _draw_looks(axes: Axes, results: Sequence[CellResult]) -> None:
    axes.set_title("Learning", loc="left")
    unit, name = _unit(max((look.seconds for result in results for look in result.looks), default=0.0))
    axes.set_xlabel(f"{name} of training")
    axes.set_ylabel("bits per byte of the tuning part")
    curves = [
        Curve(
            result.cell,
            [look.seconds / unit for look in result.looks],
            [look.bits_per_byte for look in result.looks],
        )
        for result in results
    ]
    drawn = [curve for curve in curves if curve.x]
    if drawn:  # the first looks may be so high that the rest would be one line: they are cut off
        lowest = min(min(curve.y) for curve in drawn)
        highest = max(max(curve.y[len(curve.y) // CUT_SHARE :]) for curve in drawn)
        room = 0.06 * max(0.02, highest - lowest)
        axes.set_ylim(lowest - room, highest + room)
        axes.set_xlim(0, 1.01 * max(curve.x[-1] for curve in drawn) or 1.0)
    _draw(axes, curves)


def _draw_pairs(axes: Axes, results: Sequence[CellResult]) -> None:
    axes.set_title("Minimal pairs", loc="left")
    axes.set_xlabel("words from the cue to the word that is right or wrong")
    axes.set_ylabel("right, %")
    labels = [label for label in DISTANCE_LABELS if any(label in _by_distance(result) for result in results)]
    axes.set_xticks(range(len(labels)), labels)
    axes.axhline(50, color=GREY, linewidth=0.8)
    axes.annotate("by chance", (0, 50), xytext=(0, -10), textcoords="offset points", color=GREY)
    curves = []
    for result in results:
        groups = _by_distance(result)
        places = [place for place, label in enumerate(labels) if label in groups]
        curves.append(Curve(result.cell, places, [100 * groups[labels[place]]["accuracy"] for place in places]))
    least = min((value for curve in curves for value in curve.y), default=50.0)
    axes.set_xlim(-0.15, max(1, len(labels) - 1) + 0.05)
    axes.set_ylim(min(45.0, least - 3), 101.5)
    _draw(axes, curves)


def _by_distance(result: CellResult) -> Mapping[str, Any]:
    groups: Mapping[str, Any] = {} if result.pairs is None else result.pairs["by_distance"]
    return groups


def _draw_gradients(axes: Axes, results: Sequence[CellResult]) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.set_title("Gradient, after training", loc="left")
    axes.set_xlabel("tokens back")
    axes.set_ylabel("share of the gradient left")
    axes.set_yscale("log")
    axes.set_xscale("symlog", linthresh=1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.axhline(0.5, color=GREY, linewidth=0.8)
    axes.annotate("one half", (0, 0.5), xytext=(2, -10), textcoords="offset points", color=GREY)
    curves, half_lives = [], {}
    for result in results:
        if result.trained is not None:
            flow = result.trained
            layer = max(range(len(flow.shares)), key=lambda number: flow.half_lives[number])
            shares = [(step, share) for step, share in enumerate(flow.shares[layer]) if share > 0]
            curves.append(Curve(result.cell, [step for step, _ in shares], [share for _, share in shares]))
            half_lives[result.cell] = shown_half_life(flow)
    farthest = max((curve.x[-1] for curve in curves), default=1)
    ticks = [0, *(2**power for power in range(12) if 2**power <= farthest)]
    axes.set_xticks(ticks)
    axes.set_xticks([], minor=True)
    axes.set_xlim(0, farthest)
    axes.set_ylim(LEAST_SHARE, 1.5 * max((max(curve.y) for curve in curves), default=1.0))
    for curve in curves:  # they all end below: names at their ends would say nothing
        _plot(axes, curve, marked=ticks, label=f"{curve.name}: {half_lives[curve.name]}")
    axes.legend(title="half-life, tokens", loc="lower left", handlelength=3.5, framealpha=1.0)


def _plot(axes: Axes, curve: Curve, *, marked: Sequence[int] | None = None, label: str | None = None) -> None:
    """Draw a curve, with a marker at each of its points or at these x."""
    style = STYLES[curve.name]
    axes.plot(
        curve.x,
        curve.y,
        color=style.color,
        linestyle=style.line,
        marker=style.marker,
        markevery=None if marked is None else [index for index, x in enumerate(curve.x) if x in marked],
        markerfacecolor="white",
        label=label,
    )


def _draw(axes: Axes, curves: Sequence[Curve]) -> None:
    """Draw curves, and their names at the right, as near to their ends as they do not overlap."""
    ends = []
    for curve in curves:
        if not curve.x:
            continue
        _plot(axes, curve)
        ends.append((curve.name, curve.x[-1], curve.y[-1]))
    if not ends:
        return
    to_axes = axes.transData + axes.transAxes.inverted()
    points = [(name, x, y, float(to_axes.transform((x, y))[1])) for name, x, y in ends]
    points.sort(key=lambda point: point[3])
    heights = spread([min(1.0, max(0.0, point[3])) for point in points], gap=LABEL_GAP)
    for (name, x, y, height), at in zip(points, heights, strict=True):
        is_inside = 0 <= height <= 1
        axes.annotate(
            name,
            (x, y) if is_inside else (1.0, min(1.0, max(0.0, height))),
            xycoords="data" if is_inside else "axes fraction",
            xytext=(1.05, at),
            textcoords="axes fraction",
            color="black",
            verticalalignment="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": STYLES[name].color, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 3},
        )


def spread(heights: Sequence[float], *, gap: float) -> list[float]:
    """Move ascending numbers apart until neighbours differ by ``gap``, none of them far, within 0 and 1 if they fit."""
    groups: list[list[float]] = []  # numbers that stand together, each group as [sum of wishes, number]
    for height in heights:
        groups.append([height, 1])
        while len(groups) > 1 and _low(groups[-1], gap) < _low(groups[-2], gap) + gap * groups[-2][1]:
            wishes, number = groups.pop()
            groups[-1] = [groups[-1][0] + wishes, groups[-1][1] + number]
    moved = [_low(group, gap) + gap * index for group in groups for index in range(int(group[1]))]
    for index in reversed(range(len(moved))):
        moved[index] = min(moved[index], 1 - gap * (len(moved) - 1 - index))
    for index in range(len(moved)):
        moved[index] = max(moved[index], gap * index)
    return moved


def _low(group: Sequence[float], gap: float) -> float:
    """Where the lowest of a group stands when its middle is that of its wishes."""
    wishes, number = group
    return wishes / number - gap * (number - 1) / 2


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def draw_calibration(calibration: Calibration, path: Path, *, name: str) -> None:
    """Draw the reliability diagram: how often the model is right over how sure it is, and how many tokens there are.

    Args:
        calibration: what to draw.
        path: of the picture.
        name: of the model, for the title.

    Raises:
        EnvironmentFailure: the picture could not be written.
    """
    from matplotlib import rc_context

    bins = calibration.bins
    total = max(1, sum(one.num_tokens for one in bins))
    confidences = [one.confidence for one in bins]
    with rc_context(SETTINGS):
        figure = _figure(5.5, 6.0)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        above.plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=1, label="as often right as sure")
        intervals = [share_interval(round(one.accuracy * one.num_tokens), one.num_tokens) for one in bins]
        spread = [[one.value - one.low for one in intervals], [one.high - one.value for one in intervals]]
        accuracies = [one.accuracy for one in bins]
        above.errorbar(
            confidences, accuracies, spread, color="black", marker="o", markersize=4, linewidth=1.2, capsize=2,
            label="model, with 95 % intervals", clip_on=False, zorder=3,
        )  # fmt: skip
        above.set_title(
            # "$" would begin a formula
            f"{files.shown(name)}: is it as often right as it is sure?\n".replace("$", r"\$")
            + f"expected calibration error {100 * calibration.expected_error:.1f} % over {total:,} tokens",
            fontsize=10,
        )
        above.set_ylabel("tokens on which it is right, %")
        above.set_ylim(0, 1)
        above.set_xlim(0, 1)
        above.grid(color="0.9")
        above.legend(frameon=False, loc="upper left")
        width = 1 / calibration.num_bins
        places = [min(int(one.confidence / width), calibration.num_bins - 1) * width for one in bins]
        shares = [one.num_tokens / total for one in bins]
        below.bar(places, shares, width, align="edge", color="0.75", edgecolor="black", linewidth=0.8)
        below.set_xlabel("probability of the likeliest next token, %")
        below.set_ylabel("of all tokens, %")
        below.grid(color="0.9", axis="y")
        below.set_axisbelow(True)
        for axis in (above.yaxis, above.xaxis, below.yaxis):
            axis.set_major_formatter(lambda share, _: f"{100 * share:g}")
        _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    """Write the picture in one piece."""
    buffer = io.BytesIO()
    kind = path.suffix.lower()[1:]
    metadata: dict[str, Any] = {} if kind == "png" else {"Date": None} if kind == "svg" else {"CreationDate": None}
    figure.savefig(buffer, format=kind, dpi=DOTS_PER_INCH, metadata=metadata)
    files.write_file(path, buffer.getvalue())
