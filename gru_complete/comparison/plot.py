"""The plot of `compare`: learning curves, minimal pairs by distance, gradients over distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gru_complete.comparison.claims import shown_half_life
from gru_complete.comparison.results import CellResult
from gru_complete.evaluation.pairs import DISTANCE_LABELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
from gru_complete.evaluation.plots import GREY, SETTINGS, new_figure, picture_settings, save_figure, time_unit

CUT_SHARE = 5  # the first fifth of the evaluations may lie above the plot
MIN_SHARE = 1e-3  # of the gradient; smaller shares are not drawn
LABEL_GAP = 0.062  # between the names of two curves, as a share of the height of the axes


class Style(NamedTuple):
    """What distinguishes a curve, with colours (of Okabe and Ito) and without them: line and marker."""

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


def draw_comparison(results: Sequence[CellResult], path: Path, *, title: str) -> None:
    """Plot bits per byte over time, and, if measured, accuracy over distance and the gradient over distance.

    Args:
        results: the figures of all cells; those that diverged are left out.
        path: of the plot.
        title: its title.

    Raises:
        EnvironmentFailure: the plot could not be written.
    """
    results = [result for result in results if result.diverged is None]
    has_pairs = any(result.pairs for result in results)
    has_gradients = any(result.trained for result in results)
    with picture_settings(SETTINGS):
        number = 1 + has_pairs + has_gradients
        figure = new_figure(5.0 * number, 4.3)
        figure.suptitle(title)
        axes = iter(figure.subplots(1, number, squeeze=False)[0])
        _draw_learning(next(axes), results)
        if has_pairs:
            _draw_pairs(next(axes), results)
        if has_gradients:
            _draw_gradients(next(axes), results)
        save_figure(figure, path)


def _draw_learning(axes: Axes, results: Sequence[CellResult]) -> None:
    """Bits per byte of the tuning split over the time of training."""
    axes.set_title("Learning", loc="left")
    unit, name = time_unit(max((point.seconds for result in results for point in result.evaluations), default=0.0))
    axes.set_xlabel(f"{name} of training")
    axes.set_ylabel("bits per byte of the tuning split")
    curves = [
        Curve(
            result.cell,
            [point.seconds / unit for point in result.evaluations],
            [point.bits_per_byte for point in result.evaluations],
        )
        for result in results
    ]
    drawn = [curve for curve in curves if curve.x]
    if drawn:  # the first points may be so high that the rest would be one line: they are cut off
        lowest = min(min(curve.y) for curve in drawn)
        highest = max(max(curve.y[len(curve.y) // CUT_SHARE :]) for curve in drawn)
        room = 0.06 * max(0.02, highest - lowest)
        axes.set_ylim(lowest - room, highest + room)
        axes.set_xlim(0, 1.01 * max(curve.x[-1] for curve in drawn) or 1.0)
    _draw(axes, curves)


def _draw_pairs(axes: Axes, results: Sequence[CellResult]) -> None:
    """The share of right pairs over the distance from cue to word."""
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
    """The share of the gradient that is left after each number of tokens, for the layer with the longest half-life."""
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
    farthest = max([1, *(curve.x[-1] for curve in curves)])
    ticks = [0, *(2**power for power in range(12) if 2**power <= farthest)]
    axes.set_xticks(ticks)
    axes.set_xticks([], minor=True)
    axes.set_xlim(0, farthest)
    axes.set_ylim(MIN_SHARE, 1.5 * max((max(curve.y) for curve in curves), default=1.0))
    for curve in curves:  # they all end at the bottom: names at their ends could not be told apart
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
    """Draw curves, and their names at the right, as near to their ends as possible without overlap."""
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
    heights = spread_labels([min(1.0, max(0.0, point[3])) for point in points], gap=LABEL_GAP)
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


def spread_labels(heights: Sequence[float], *, gap: float) -> list[float]:
    """Move labels apart until neighbours differ by ``gap``, each as little as possible.

    Args:
        heights: where the labels should be, ascending, from 0 to 1.
        gap: the least distance.

    Returns:
        Where they are, ascending; within 0 and 1 if there is room for all of them.
    """
    groups: list[list[float]] = []  # labels that touch, each group as [sum of wishes, number]
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
    """The height of the lowest label of a group whose centre is the mean of its wishes."""
    wishes, number = group
    return wishes / number - gap * (number - 1) / 2
