import html
import random

import pytest

from gru_complete.errors import EnvironmentFailure, UsageError
from gru_complete.evaluation import plots
from gru_complete.evaluation.plots import check_plot, draw_learning_curve
from gru_complete.training.curve import EvaluationPoint, LearningCurve

needs_matplotlib = pytest.mark.skipif(
    plots.importlib.util.find_spec("matplotlib") is None, reason="needs the extra plots"
)


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
@pytest.mark.parametrize("title", ["$x^", r"\alpha $\frac{$", "a_b$c$", "日本語 हिन्दी", "<&>"])
def test_a_title_is_text_whatever_it_holds(tmp_path, title):
    draw_learning_curve(LearningCurve({10: 5.0}, [EvaluationPoint(10, 1.0, 3.0)]), tmp_path / "l.svg", title=title)
    assert html.escape(title) in (tmp_path / "l.svg").read_text()


@needs_matplotlib
def test_every_curve_of_finite_numbers_can_be_drawn(tmp_path):
    values = [0.0, 1e-300, 1e-9, 0.5, 3.0, 1e5, 1e30]
    choose = random.Random(0).choice
    for number in (1, 3, 5, 8, 15):
        losses = {step: choose(values) for step in range(1, 1 + number % 4)}
        points = [EvaluationPoint(step, choose(values), choose(values)) for step in range(1, 1 + (number + 1) // 4)]
        draw_learning_curve(LearningCurve(losses, points), tmp_path / "l.png", title="t")


@needs_matplotlib
def test_an_empty_curve_is_an_empty_picture(tmp_path):
    draw_learning_curve(LearningCurve({}, []), tmp_path / "l.png", title="nothing")
    assert (tmp_path / "l.png").read_bytes().startswith(b"\x89PNG")


@needs_matplotlib
def test_settings_of_the_current_directory_are_ignored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\ntext.latex.preamble: \\\\input{/etc/passwd}\n")
    import matplotlib

    matplotlib.rc_file(tmp_path / "matplotlibrc")  # as when matplotlib is imported here
    try:
        draw_learning_curve(LearningCurve({}, []), tmp_path / "l.png", title="no TeX")
        with plots.picture_settings({}):
            assert not matplotlib.rcParams["text.usetex"]
        assert matplotlib.rcParams["text.usetex"]  # those of a program that uses matplotlib itself are left alone
    finally:
        matplotlib.rcdefaults()


def test_a_picture_that_cannot_be_written_is_refused_at_once(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"does not end in \.png, \.svg or \.pdf"):
        check_plot(tmp_path / "c.jpg")
    with pytest.raises(UsageError, match="no such directory"):
        check_plot(tmp_path / "none" / "c.png")
    monkeypatch.setattr(plots.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EnvironmentFailure, match="need matplotlib") as caught:
        check_plot(tmp_path / "c.png")
    assert caught.value.hint == "install it with: pip install matplotlib"
