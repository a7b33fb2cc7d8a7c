"""Pictures by matplotlib, if it is installed: readable in black and white, with the name of each curve at its end."""

from __future__ import annotations

import importlib.util
import io
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gru_complete.errors import EnvironmentFailure, UsageError, printable
from gru_complete.evaluation.calibration import Calibration, CalibrationBin
from gru_complete.evaluation.intervals import share_interval
from gru_complete.storage import atomic
from gru_complete.training.curve import LearningCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
DOTS_PER_INCH = 150
GREY = "0.35"
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
    "text.parse_math": False,  # "$" is a letter of a name
    "svg.fonttype": "none",
    "svg.hashsalt": "gru-complete",  # the same data give the same file
}


def check_plot(path: Path) -> None:
    """Check, before any work, that a picture can be written.

    Raises:
        UsageError: the name's suffix is not one of ``SUFFIXES``, or there is no such directory.
        EnvironmentFailure: matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--plot {printable(path)} does not end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if not path.parent.is_dir():
        raise UsageError(f"--plot {printable(path)}: there is no such directory")
    if importlib.util.find_spec("matplotlib") is None:
        message = "pictures need matplotlib, which is not installed"
        raise EnvironmentFailure(message, hint="install it with: pip install matplotlib")


def draw_learning_curve(curve: LearningCurve, path: Path, *, title: str) -> None:
    """Draw loss and bits per byte over the steps, with the time of training along the top.

    Args:
        curve: what to draw.
        path: the picture's file.
        title: its title.

    Raises:
        EnvironmentFailure: the picture could not be written.
    """
    with picture_settings(SETTINGS):
        figure = new_figure(7.0, 5.6)
        figure.suptitle(title)
        above, below = figure.subplots(2, 1, sharex=True)
        above.plot(list(curve.losses), list(curve.losses.values()), "k-")
        above.set_ylabel("loss, nats per token")
        above.set_title("training text (smoothed over 50 steps)", loc="left")
        evaluations = curve.evaluations
        steps = [evaluation.step for evaluation in evaluations]
        below.plot(steps, [evaluation.bits_per_byte for evaluation in evaluations], "ko-", markersize=4)
        if evaluations:
            best = min(evaluations, key=lambda evaluation: evaluation.bits_per_byte)
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
        below.set_title("tuning split (validation), the network alone", loc="left")
        below.set_xlim(0, 1.01 * max([*curve.losses, *steps], default=1))
        if evaluations and evaluations[-1].seconds > 0:
            unit, name = time_unit(evaluations[-1].seconds)
            per_step = evaluations[-1].seconds / evaluations[-1].step / unit
            above.secondary_xaxis(
                "top", functions=(lambda step: step * per_step, lambda time: time / per_step)
            ).set_xlabel(f"{name} of training")
        save_figure(figure, path)


@contextmanager
def picture_settings(settings: dict[Any, Any]) -> Iterator[None]:
    """Draw with these settings and, for all others, the user's own, but never with those of the current directory.

    It may be a stranger's, and a ``matplotlibrc`` in it can have every label set by TeX, which starts programs and
    writes files.

    Args:
        settings: matplotlib's, by name.
    """
    import matplotlib

    with matplotlib.rc_context():
        if not os.path.dirname(matplotlib.matplotlib_fname()):  # a bare name: found in the current directory
            matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield


def time_unit(seconds: float) -> tuple[int, str]:
    """Choose the unit for a time: its length in seconds, and its name."""
    return (60, "minutes") if seconds > 100 else (1, "seconds")


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def draw_calibration(calibration: Calibration, path: Path, *, name: str) -> None:
    """Draw the reliability diagram: how often the model is right, by confidence, and how many tokens there are.

    Args:
        calibration: what to draw.
        path: the picture's file.
        name: the model's name, for the title.

    Raises:
        EnvironmentFailure: the picture could not be written.
    """
    bins = calibration.bins
    total = max(1, sum(each.num_tokens for each in bins))
    with picture_settings(SETTINGS):
        figure = new_figure(5.5, 6.0)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        _draw_accuracies(above, bins)
        above.set_title(
            f"{printable(name)}: is it right as often as it is confident?\n"
            f"expected calibration error {100 * calibration.expected_error:.1f} % over {total:,} tokens",
            fontsize=10,
        )
        width = 1 / calibration.num_bins
        places = [min(int(each.confidence / width), calibration.num_bins - 1) * width for each in bins]
        shares = [each.num_tokens / total for each in bins]
        below.bar(places, shares, width, align="edge", color="0.75", edgecolor="black", linewidth=0.8)
        below.set_xlabel("probability of the most likely next token, %")
        below.set_ylabel("of all tokens, %")
        below.grid(color="0.9", axis="y")
        below.set_axisbelow(True)
        for axis in (above.yaxis, above.xaxis, below.yaxis):
            axis.set_major_formatter(lambda share, _: f"{100 * share:g}")
        save_figure(figure, path)


def _draw_accuracies(axes: Axes, bins: Sequence[CalibrationBin]) -> None:
    """Draw accuracy over confidence with its interval in each bin, and the diagonal of a perfect calibration."""
    axes.plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=1, label="perfect calibration")
    intervals = [share_interval(round(each.accuracy * each.num_tokens), each.num_tokens) for each in bins]
    error_bars = [[each.value - each.low for each in intervals], [each.high - each.value for each in intervals]]
    axes.errorbar(
        [each.confidence for each in bins], [each.accuracy for each in bins], error_bars,
        color="black", marker="o", markersize=4, linewidth=1.2, capsize=2,
        label="model, with 95 % intervals", clip_on=False, zorder=3,
    )  # fmt: skip
    axes.set_ylabel("tokens on which it is right, %")
    axes.set_ylim(0, 1)
    axes.set_xlim(0, 1)
    axes.grid(color="0.9")
    axes.legend(frameon=False, loc="upper left")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a picture, so that a crash leaves the old file or the new one."""
    buffer = io.BytesIO()
    kind = path.suffix.lower()[1:]
    metadata: dict[str, Any] = {} if kind == "png" else {"Date": None} if kind == "svg" else {"CreationDate": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # characters that the font lacks are drawn as boxes
        figure.savefig(buffer, format=kind, dpi=DOTS_PER_INCH, metadata=metadata)
    atomic.write_file(path, buffer.getvalue(), follows=True)
