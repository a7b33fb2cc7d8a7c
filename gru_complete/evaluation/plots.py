"""Pictures, with matplotlib where it is installed: readable in black and white, curves named where they end."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gru_complete.errors import EnvironmentFailure, UsageError, printable
from gru_complete.evaluation.calibration import Calibration
from gru_complete.evaluation.intervals import share_interval
from gru_complete.storage import atomic
from gru_complete.training.curve import LearningCurve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDINGS = (".png", ".svg", ".pdf")
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
    "svg.fonttype": "none",
    "svg.hashsalt": "gru-complete",  # the same figures make the same file
}


def check_plot(path: Path) -> None:
    """Find out before any work whether a picture can be made there.

    Raises:
        UsageError: the name ends in no format that is known, or there is no such directory.
        EnvironmentFailure: matplotlib is not installed.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"--plot {printable(path)} does not end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    if not path.parent.is_dir():
        raise UsageError(f"--plot {printable(path)}: there is no such directory")
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
        figure = new_figure(7.0, 5.6)
        figure.suptitle(title)
        above, below = figure.subplots(2, 1, sharex=True)
        above.plot(list(curve.losses), list(curve.losses.values()), "k-")
        above.set_ylabel("loss, nats per token")
        above.set_title("training text (smoothed over 50 steps)", loc="left")
        looks = curve.evaluations
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
            unit, name = time_unit(looks[-1].seconds)
            per_step = looks[-1].seconds / looks[-1].step / unit
            above.secondary_xaxis(
                "top", functions=(lambda step: step * per_step, lambda time: time / per_step)
            ).set_xlabel(f"{name} of training")
        save_figure(figure, path)


def time_unit(seconds: float) -> tuple[int, str]:
    """The unit in which a time is shown: how many seconds it has, and its name."""
    return (60, "minutes") if seconds > 100 else (1, "seconds")


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size, in inches."""
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
        figure = new_figure(5.5, 6.0)
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
            f"{printable(name)}: is it as often right as it is sure?\n".replace("$", r"\$")
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
        save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write the picture in one piece."""
    buffer = io.BytesIO()
    kind = path.suffix.lower()[1:]
    metadata: dict[str, Any] = {} if kind == "png" else {"Date": None} if kind == "svg" else {"CreationDate": None}
    figure.savefig(buffer, format=kind, dpi=DOTS_PER_INCH, metadata=metadata)
    atomic.write_file(path, buffer.getvalue())
