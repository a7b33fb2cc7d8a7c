import importlib.util
import re

import pytest

from gru_complete.comparison.plot import STYLES, draw_comparison, spread_labels
from gru_complete.comparison.results import CellResult
from gru_complete.evaluation.gradients import GradientFlow
from gru_complete.model.architecture import CELLS
from gru_complete.training.curve import EvaluationPoint

needs_matplotlib = pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="needs the extra plots")


def results(cells=CELLS):
    found = []
    for number, cell in enumerate(cells):
        score = {"accuracy": 0.6 + number / 20, "pairs": 10}
        found.append(
            CellResult(
                cell,
                64,
                1000,
                300,
                trained=GradientFlow([[2 ** (-step / (3 + number)) for step in range(20)]]),
                pairs={"by_distance": {"1-5": score, "6-10": score}, "far": None},
                evaluations=[EvaluationPoint(step, step / 7, 3 - number / 10 - step / 100) for step in (10, 20, 30)],
            )
        )
    return found


@needs_matplotlib
def test_a_comparison_names_every_curve_and_every_axis(tmp_path):
    draw_comparison(results(), tmp_path / "c.svg", title="Cells on a text")
    text = (tmp_path / "c.svg").read_text()
    for cell in CELLS:
        assert len(re.findall(rf">{cell}<", text)) == 2  # at the ends of two curves; the third has it in its legend
        assert f">{cell}: " in text
    for label in (
        "Cells on a text",
        "seconds of training",
        "bits per byte of the tuning split",
        "right, %",
        "tokens back",
    ):
        assert label in text
    draw_comparison(results(), tmp_path / "again.svg", title="Cells on a text")
    assert (tmp_path / "again.svg").read_bytes() == (tmp_path / "c.svg").read_bytes()


@needs_matplotlib
def test_figures_that_were_not_measured_are_not_drawn(tmp_path):
    bare = CellResult("gru", 64, 1000, 300, evaluations=[EvaluationPoint(10, 1.0, 3.0)])
    gone = CellResult("rnn", 64, 1000, 300, diverged="training diverged")
    draw_comparison([bare, gone, CellResult("lstm", 64, 1000, 300)], tmp_path / "c.svg", title="t")
    text = (tmp_path / "c.svg").read_text()
    assert "seconds of training" in text
    assert "right, %" not in text
    assert ">rnn<" not in text


@needs_matplotlib
def test_a_gradient_that_is_gone_after_a_token_can_be_drawn(tmp_path):
    gone = CellResult("rnn", 64, 1000, 300, trained=GradientFlow([[1.0, 0.0, 0.0]]))
    draw_comparison([gone], tmp_path / "c.svg", title="a $x^ b")
    assert "a $x^ b" in (tmp_path / "c.svg").read_text()


def test_styles_differ_without_colour():
    assert set(STYLES) == set(CELLS)
    assert len({style.marker for style in STYLES.values()}) == len(CELLS)
    assert len({str(style.line) for style in STYLES.values()}) == len(CELLS)


@pytest.mark.parametrize(
    "wishes", [[0.1, 0.5, 0.9], [0.5, 0.5, 0.5], [0.0, 0.0, 0.01], [1.0, 1.0, 1.0], [0.2, 0.21, 0.8, 0.99, 1.0]]
)
def test_names_are_moved_apart_but_no_farther_than_needed(wishes):
    moved = spread_labels(wishes, gap=0.1)
    assert all(after - before >= 0.1 - 1e-9 for before, after in zip(moved, moved[1:], strict=False))
    assert all(-1e-9 <= height <= 1 + 1e-9 for height in moved)
    assert max(abs(new - old) for new, old in zip(moved, wishes, strict=True)) <= 0.1 * (len(wishes) - 1)
    assert spread_labels([0.1, 0.5, 0.9], gap=0.1) == pytest.approx([0.1, 0.5, 0.9])
