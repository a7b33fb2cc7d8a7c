"""Whether the model is right as often as it is sure: calibration of its next-token probabilities.

At each token of a text the model's confidence is the probability p of the token that it finds likeliest, and it is
right if that token comes next. The expected calibration error (Guo et al. 2017, "On calibration of modern neural
networks", arXiv:1706.04599, eq. 3 and 5) sorts the N tokens by their confidence into M = 15 bins of the same width,
((m - 1) / M, m / M], and compares in each bin B_m how often it is right with how sure it is::

    ECE = sum over m of |B_m| / N * |accuracy(B_m) - confidence(B_m)|

where accuracy is the share of tokens on which it is right, and confidence the mean of p. It is 0 if of the tokens
predicted with any confidence p the share p is right, and it says nothing about how good the predictions are.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gru_complete import files
from gru_complete.errors import UsageError
from gru_complete.evaluation.intervals import share_interval
from gru_complete.nn.scoring import Outcome

NUM_BINS = 15
PLOT_SUFFIXES = (".png", ".svg")


@dataclass(frozen=True)
class Bin:
    """The tokens predicted with about the same confidence.

    Args:
        num_tokens: how many there are; at least one.
        confidence: the mean probability of the likeliest token.
        accuracy: how often it came next.
    """

    num_tokens: int
    confidence: float
    accuracy: float


class Calibration:
    """Collects predictions, as they are made.

    Args:
        num_bins: M.
    """

    def __init__(self, num_bins: int = NUM_BINS) -> None:
        self.num_bins = num_bins
        self._tokens = np.zeros(num_bins, np.int64)
        self._hits = np.zeros(num_bins, np.int64)
        self._sums = np.zeros(num_bins)

    def add(self, outcome: Outcome) -> None:
        """Take in the predictions of some tokens."""
        number = self.num_bins
        bins = np.clip(np.ceil(outcome.confidences * number).astype(np.int64) - 1, 0, number - 1)
        self._tokens += np.bincount(bins, minlength=number)
        self._hits += np.bincount(bins[outcome.ranks == 0], minlength=number)
        self._sums += np.bincount(bins, outcome.confidences, number)

    @property
    def bins(self) -> list[Bin]:
        """Those that hold tokens, the least confidence first."""
        filled = np.flatnonzero(self._tokens)
        return [
            Bin(
                int(self._tokens[index]),
                float(self._sums[index] / self._tokens[index]),
                float(self._hits[index] / self._tokens[index]),
            )
            for index in filled
        ]

    @property
    def expected_error(self) -> float:
        """ECE, between 0 and 1; 0 without tokens."""
        bins = self.bins
        total = sum(one.num_tokens for one in bins)
        return sum(one.num_tokens * abs(one.accuracy - one.confidence) for one in bins) / max(1, total)

    def to_json(self) -> dict[str, Any]:
        """What stands under ``calibration`` in ``eval --json``."""
        bins = self.bins
        total = sum(one.num_tokens for one in bins)
        return {
            "expected_error": self.expected_error,
            "confidence": sum(one.num_tokens * one.confidence for one in bins) / max(1, total),
            "accuracy": sum(one.num_tokens * one.accuracy for one in bins) / max(1, total),
            "num_bins": self.num_bins,
            "bins": [vars(one) for one in bins],
        }


def check_plot(path: Path) -> None:
    """See to it, before the work, that a picture can be drawn.

    Raises:
        UsageError: matplotlib is not installed, or the file's name does not say that it is a picture.
    """
    if path.suffix.lower() not in PLOT_SUFFIXES:
        raise UsageError(
            f"--plot draws {' or '.join(PLOT_SUFFIXES)}, not {files.shown(path.name)}",
            hint="end the name so, as in: --plot calibration.png",
        )
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError("--plot needs matplotlib", hint="pip install 'gru-complete[plots]'") from None


def draw(calibration: Calibration, path: Path, *, name: str) -> None:
    """Draw the reliability diagram: how often the model is right over how sure it is, and how many tokens there are.

    Args:
        calibration: what to draw.
        path: of the file, ending in one of ``PLOT_SUFFIXES``.
        name: of the model, for the title.

    Raises:
        UsageError: as ``check_plot``.
        EnvironmentFailure: the file cannot be written.
    """
    check_plot(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    bins = calibration.bins
    total = max(1, sum(one.num_tokens for one in bins))
    confidences = [one.confidence for one in bins]
    figure = Figure(figsize=(5.5, 6), layout="constrained")
    FigureCanvasAgg(figure)
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
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix[1:].lower(), dpi=150)
    files.write_file(path, picture.getvalue())
