import re

import pytest

from gru_complete.comparison.compare import CellResult
from gru_complete.comparison.plot import STYLES, draw_comparison, spread
from gru_complete.errors import EnvironmentFailure, UsageError
from gru_complete.evaluation import plots
from gru_complete.evaluation.gradients import GradientFlow
from gru_complete.evaluation.plots import check_plot, draw_learning_curve
from gru_complete.model.architecture import CELLS
from gru_complete.training.curve import EvaluationPoint, LearningCurve

needs_matplotlib = pytest.mark.skipif(
    plots.importlib.util.find_spec("matplotlib") is None, reason="needs the extra plots"
)


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
                looks=[EvaluationPoint(step, step / 7, 3 - number / 10 - step / 100) for step in (10, 20, 30)],
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
        "bits per byte of the tuning part",
        "right, %",
        "tokens back",
    ):
        assert label in text
    draw_comparison(results(), tmp_path / "again.svg", title="Cells on a text")
    assert (tmp_path / "again.svg").read_bytes() == (tmp_path / "c.svg").read_bytes()


@needs_matplotlib
def test_what_was_not_measured_is_not_drawn(tmp_path):
    bare = CellResult("gru", 64, 1000, 300, looks=[EvaluationPoint(10, 1.0, 3.0)])
    gone = CellResult("rnn", 64, 1000, 300, diverged="training diverged")
    draw_comparison([bare, gone, CellResult("lstm", 64, 1000, 300)], tmp_path / "c.svg", title="t")
    text = (tmp_path / "c.svg").read_text()
    assert "seconds of training" in text
    assert "right, %" not in text
    assert ">rnn<" not in text


def test_styles_differ_without_colour():
    assert set(STYLES) == set(CELLS)
    assert len({style.marker for style in STYLES.values()}) == len(CELLS)
    assert len({str(style.line) for style in STYLES.values()}) == len(CELLS)


@needs_matplotlib
@pytest.mark.parametrize("seconds", [0.0, 3.0, 600.0])
def test_a_learning_curve_has_units_on_its_axes(tmp_path, seconds):
    curve = LearningCurve(
        {10: 5.0, 20: 4.0}, [EvaluationPoint(10, seconds / 2, 3.0), EvaluationPoint(20, seconds, 2.5)]
    )
    draw_learning_curve(curve, tmp_path / "l.svg", title="Training of it")
    text = (tmp_path / "l.svg").read_text()
    for label in ("Training of it", "loss, nats per token", "bits per byte", "step", "best: 2.500"):
        assert label in text
    assert ("seconds of training" in text, "minutes of training" in text) == (seconds == 3, seconds == 600)


@needs_matplotlib
def test_an_empty_curve_is_an_empty_picture(tmp_path):
    draw_learning_curve(LearningCurve({}, []), tmp_path / "l.png", title="nothing")
    assert (tmp_path / "l.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "wishes", [[0.1, 0.5, 0.9], [0.5, 0.5, 0.5], [0.0, 0.0, 0.01], [1.0, 1.0, 1.0], [0.2, 0.21, 0.8, 0.99, 1.0]]
)
def test_names_are_moved_apart_and_no_farther(wishes):
    moved = spread(wishes, gap=0.1)
    assert all(after - before >= 0.1 - 1e-9 for before, after in zip(moved, moved[1:], strict=False))
    assert all(-1e-9 <= height <= 1 + 1e-9 for height in moved)
    assert max(abs(new - old) for new, old in zip(moved, wishes, strict=True)) <= 0.1 * (len(wishes) - 1)
    assert spread([0.1, 0.5, 0.9], gap=0.1) == pytest.approx([0.1, 0.5, 0.9])


def test_a_picture_that_cannot_be_made_is_refused_at_once(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"does not end in \.png, \.svg or \.pdf"):
        check_plot(tmp_path / "c.jpg")
    with pytest.raises(UsageError, match="no such directory"):
        check_plot(tmp_path / "none" / "c.png")
    monkeypatch.setattr(plots.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EnvironmentFailure, match="need matplotlib") as caught:
        check_plot(tmp_path / "c.png")
    assert caught.value.hint == "install it with: pip install matplotlib"
