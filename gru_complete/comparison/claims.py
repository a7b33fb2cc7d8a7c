"""What textbooks claim about the cells, checked against the figures of a comparison.

A comparison has one seed and one text: a claim that did not hold, or held by a narrow margin, is a reason to look
closer, not a refutation or a proof.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gru_complete.comparison.results import MIN_FAR_WORDS, CellResult
from gru_complete.evaluation.gradients import GradientFlow

MIN_LEAD = 15.0  # percentage points
RATIO_TOLERANCE = 0.02
MIN_TIMES_LONGER = 5.0
SOLVED, NEAR_CHANCE = 0.99, 0.05
MAX_EXTRA_COST = 0.01
GATED = ("gru-simple", "gru", "gru-reset-after", "lstm")


@dataclass(frozen=True)
class Claim:
    """A claim, and whether it held in a comparison.

    Args:
        text: the claim.
        figures: what was measured.
        held: whether the figures agree with it; None if they cannot tell.
    """

    text: str
    figures: str
    held: bool | None

    @property
    def verdict(self) -> str:
        """Whether it held, in words."""
        return "cannot be told" if self.held is None else "held" if self.held else "did not hold"

    def to_json(self) -> dict[str, Any]:
        """One of ``claims`` in ``compare --json``."""
        return {"claim": self.text, "figures": self.figures, "held": self.held}


def claims(results: Sequence[CellResult], *, same_width: bool) -> list[Claim]:
    """All claims about cells that were compared.

    Args:
        results: the figures of all cells.
        same_width: whether all have the same hidden size.
    """
    cells = {result.cell: result for result in results if result.diverged is None}
    return [
        *_far_pairs(cells),
        *_cost(cells),
        *(_parameters(cells) if same_width else []),
        *_gradients(cells),
        *_speed(cells),
        *_recall(cells),
        *_rectified(cells),
    ]


def longest_half_life(flow: GradientFlow) -> float:
    """The longest half-life of any layer, in tokens; infinite if it is beyond the measured distance."""
    return max(flow.half_lives)


def shown_half_life(flow: GradientFlow | None) -> str:
    """The longest half-life for tables and sentences."""
    if flow is None:
        return ""
    life = longest_half_life(flow)
    return f"{life:.1f}" if math.isfinite(life) else f"> {len(flow.shares[0]) - 1}"


def _far_pairs(cells: dict[str, CellResult]) -> list[Claim]:
    """Gated cells should remember over many words what a simple RNN forgets."""
    scores = {name: result.pairs["far"] for name, result in cells.items() if result.pairs and result.pairs["far"]}
    gated = {name: 100 * scores[name]["accuracy"] for name in GATED if name in scores}
    if not gated or "rnn" not in scores:
        return []
    simple = 100 * scores["rnn"]["accuracy"]
    figures = ", ".join(f"{name} {right:.1f} %" for name, right in {"rnn": simple, **gated}.items())
    ahead = min(gated.values()) - simple
    text = f"gated cells are at least {MIN_LEAD:.0f} points ahead of the simple RNN at {MIN_FAR_WORDS} words and more"
    return [Claim(text, f"{figures}; the least lead is {ahead:.1f} points", ahead >= MIN_LEAD)]


def _cost(cells: dict[str, CellResult]) -> list[Claim]:
    """Gated cells should have a lower cost per byte than the simple RNN."""
    gated = {name: cells[name].bits_per_byte for name in GATED if name in cells}
    if not gated or "rnn" not in cells:
        return []
    simple = cells["rnn"].bits_per_byte
    figures = ", ".join(f"{name} {bits:.3f}" for name, bits in {"rnn": simple, **gated}.items())
    return [Claim("gated cells predict the text better", f"{figures} bits per byte", max(gated.values()) < simple)]


def _parameters(cells: dict[str, CellResult]) -> list[Claim]:
    """A GRU has three blocks of weights, an LSTM four."""
    if not {"gru", "lstm"} <= set(cells):
        return []
    gru, lstm = cells["gru"].num_cell_parameters, cells["lstm"].num_cell_parameters
    figures = f"{gru:,} to {lstm:,} = {gru / lstm:.3f}"
    return [
        Claim("the GRU cell has 3 parameters for 4 of the LSTM's", figures, abs(gru / lstm - 0.75) <= RATIO_TOLERANCE)
    ]


def _gradients(cells: dict[str, CellResult]) -> list[Claim]:
    """The gradient should reach farther back through a GRU than through a simple RNN."""
    result = []
    for when, name in (("as training begins", "at_start"), ("after training", "trained")):
        flows = {cell: getattr(cells[cell], name) for cell in ("rnn", "gru") if cell in cells}
        if len(flows) < 2 or None in flows.values():
            continue
        simple, gated = longest_half_life(flows["rnn"]), longest_half_life(flows["gru"])
        held: bool | None = gated >= MIN_TIMES_LONGER * simple
        if math.isinf(gated):  # at least as long as the measured distance
            held = True if len(flows["gru"].shares[0]) - 1 >= MIN_TIMES_LONGER * simple else None
        figures = f"rnn {shown_half_life(flows['rnn'])}, gru {shown_half_life(flows['gru'])} tokens"
        if math.isfinite(gated):
            figures += f": {gated / simple:.1f} x"
        text = f"the GRU's gradient has at least {MIN_TIMES_LONGER:g} times the RNN's half-life, {when}"
        result.append(Claim(text, figures, held))
    return result


def _speed(cells: dict[str, CellResult]) -> list[Claim]:
    """With fewer weights, the GRU should train and complete faster than the LSTM."""
    if not {"gru", "lstm"} <= set(cells):
        return []
    gru, lstm = cells["gru"], cells["lstm"]
    result = []
    for what, name in (("trains", "training_tokens_per_second"), ("completes", "completion_tokens_per_second")):
        ours, theirs = getattr(gru, name), getattr(lstm, name)
        if math.isfinite(ours) and math.isfinite(theirs):
            figures = f"{ours:,.0f} to {theirs:,.0f} tokens/s"
            result.append(Claim(f"the GRU {what} quicker than the LSTM", figures, ours > theirs))
    return result


def _recall(cells: dict[str, CellResult]) -> list[Claim]:
    """The GRU should solve the copy task where the simple RNN cannot."""
    recalls = {name: cells[name].recall for name in ("rnn", "gru") if name in cells}
    rnn, gru = recalls.get("rnn"), recalls.get("gru")
    if rnn is None or gru is None:
        return []
    simple, gated, chance = rnn["right"][0], gru["right"][0], rnn["chance"]
    figures = f"rnn {100 * simple:.1f} %, gru {100 * gated:.1f} %, chance {100 * chance:.1f} %"
    held = gated >= SOLVED and simple <= chance + NEAR_CHANCE
    text = f"the GRU copies over {gru['length']:,} steps, where the simple RNN says no more than chance would"
    return [Claim(text, figures, held)]


def _rectified(cells: dict[str, CellResult]) -> list[Claim]:
    """A rectified linear unit is sometimes said to make gates unnecessary."""
    if not {"rnn-relu", "gru"} <= set(cells):
        return []
    relu, gru = cells["rnn-relu"].bits_per_byte, cells["gru"].bits_per_byte
    text = f"a rectified linear unit in place of gates would do (costs at most {MAX_EXTRA_COST:.0%} more than the GRU)"
    return [Claim(text, f"rnn-relu {relu:.3f}, gru {gru:.3f} bits per byte", relu <= (1 + MAX_EXTRA_COST) * gru)]
