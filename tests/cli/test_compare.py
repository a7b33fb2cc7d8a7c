import json
import signal
import subprocess
import sys
import time

import pytest

from gru_complete.cli import compare
from gru_complete.cli.compare import ComparisonDisplay
from gru_complete.cli.console import Console
from gru_complete.comparison import speeds
from gru_complete.comparison.events import RecallProgress
from gru_complete.comparison.recall import RecallStep
from gru_complete.evaluation import plots

GRU_COMPLETE = [sys.executable, "-m", "gru_complete"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(speeds, "TURN_SECONDS", 0.0)
    monkeypatch.setattr(speeds, "SPEED_TOKENS", 5)


@pytest.fixture
def settings(tiny_overrides):
    return [part for override in (*tiny_overrides, "data.held_out=0.2") for part in ("--set", override)]


@pytest.fixture
def pairs_path(tmp_path):
    path = tmp_path / "pairs.jsonl"
    pairs = [
        {"right": "The cat ate.", "wrong": "The cat zq.", "phenomenon": "verb", "distance": distance}
        for distance in (3, 25)
    ]
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return path


def test_a_table_the_claims_and_a_picture(run, corpus_path, settings, pairs_path, tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "claims.png"
    arguments = ["compare", corpus_path, "--cells", "rnn,gru,lstm", *settings, "--pairs", pairs_path]
    code, out, err = run(*arguments, "-m", tmp_path / "c", "--plot", picture)
    assert (code, err) == (0, "")
    text = out.decode()
    for part in ("parameters", "bits per byte", "distance 21-40 words", "distance 20 and more", "after training"):
        assert part in text
    claims = [line for line in text.splitlines() if line.startswith("claim: ")]
    (parameters,) = [line for line in claims if "3 parameters for 4" in line]
    assert parameters.endswith(": held (2,952 to 3,936 = 0.750)")
    assert all(" held (" in line or ": did not hold (" in line for line in claims)
    assert picture.read_bytes().startswith(b"\x89PNG")
    code, out, _ = run(*arguments, "-m", tmp_path / "c", "--json")
    record = json.loads(out)
    assert [cell["cell"] for cell in record["cells"]] == ["rnn", "gru", "lstm"]
    assert (record["match"], record["steps"], record["minutes"]) == ("width", 24, None)
    assert record["cells"][0]["pairs"]["far"]["pairs"] == 1
    assert {"claim", "figures", "held"} == set(record["claims"][0])


def test_the_comparison_is_named_after_the_corpus(run, corpus_path, settings, tmp_path):
    code, _, err = run("compare", corpus_path, "--cells", "rnn", "--steps", "2", *settings)
    assert (code, err) == (0, "")
    assert (tmp_path / "home" / "models" / "corpus.compare" / "rnn" / "manifest.json").exists()
    assert run("models", "list")[1] == b"" or b"compare" not in run("models", "list")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--cells", "rnn,gnu"],
            "--cells must be one of rnn, rnn-relu, gru-simple, gru, gru-reset-after, lstm, not 'gnu'",
        ),
        (["--cells", "rnn,rnn"], "--cells names a cell twice"),
        (["--match", "mood"], "--match must be one of width, parameters, time, not 'mood'"),
        (["--minutes", "1", "--steps", "2"], "--minutes and --steps are mutually exclusive"),
        (["--match", "time", "--steps", "2"], "--match time needs --minutes, not --steps"),
        (["--recall", "1"], "--recall must be between 2 and 5000, not 1"),
        (["--plot", "c.bmp"], "--plot c.bmp does not end in .png, .svg or .pdf"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_any_work(run, corpus_path, tmp_path, arguments, message):
    code, out, err = run("compare", corpus_path, "-m", tmp_path / "c", *arguments)
    assert (code, out) == (2, b"")
    assert err.splitlines()[0] == f"error: {message}"
    assert not (tmp_path / "c.compare").exists()


@pytest.mark.parametrize("command", ["compare", "train"])
def test_without_matplotlib_nothing_is_trained(run, corpus_path, settings, tmp_path, monkeypatch, command):
    monkeypatch.setattr(plots.importlib.util, "find_spec", lambda _: None)
    code, _, err = run(command, corpus_path, "-m", tmp_path / "c", *settings, "--plot", tmp_path / "c.png")
    assert code == 5
    assert err == (
        "error: pictures need matplotlib, which is not installed\nhint: install it with: pip install matplotlib\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]


@pytest.mark.parametrize("command", ["compare", "eval", "train"])
@pytest.mark.parametrize("as_json", [False, True], ids=["table", "json"])
def test_a_plot_that_fails_costs_no_figures(
    run, corpus_path, settings, trained_model, tmp_path, monkeypatch, command, as_json
):
    figure = pytest.importorskip("matplotlib.figure")

    def fail(*_, **__):
        raise ValueError

    monkeypatch.setattr(figure.Figure, "savefig", fail)
    arguments = {
        "compare": [corpus_path, "--cells", "gru", "-m", tmp_path / "c", *settings],
        "eval": ["-m", trained_model],
        "train": [corpus_path, "-m", tmp_path / "m", *settings],
    }[command]
    code, out, err = run(command, *arguments, "--plot", tmp_path / "a.png", *(["--json"] if as_json else []))
    assert code == 70
    assert "internal error: ValueError" in err
    figures = out.decode() if command != "train" or as_json else err
    assert "bits" in figures
    if as_json:
        json.loads(out)
    assert not (tmp_path / "a.png").exists()


def test_train_draws_its_learning_curve(run, corpus_path, settings, tmp_path):
    pytest.importorskip("matplotlib")
    code, _, err = run("train", corpus_path, "-m", tmp_path / "m", *settings, "-q", "--plot", tmp_path / "curve.svg")
    assert (code, err) == (0, "")
    text = (tmp_path / "curve.svg").read_text()
    assert "Training of m" in text
    assert "bits per byte" in text


def test_a_signal_saves_and_the_same_command_goes_on(corpus_path, settings, tmp_path):
    command = [*GRU_COMPLETE, "compare", str(corpus_path), "-m", str(tmp_path / "c"), "--cells", "rnn,gru"]
    command += [*settings, "--steps", "400"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    metrics = tmp_path / "c.compare" / "rnn.run" / "metrics.jsonl"
    while not metrics.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "saved" in err
    assert "hint: run the same command again to resume" in err
    result = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert [cell["steps"] for cell in json.loads(result.stdout)["cells"]] == [400, 400]


def test_the_recall_part_of_a_comparison_has_the_bar_of_recall(capfd, monkeypatch):
    events_of_two = [
        RecallProgress(cell, 10.0, RecallStep(update, 5 * update, 0.25 * update, 2.0 * update))
        for cell in ("rnn", "gru")
        for update in (1, 2, 3)
    ]
    quiet = ComparisonDisplay(Console("never"), is_quiet=True)
    for event in events_of_two:
        quiet.show(event)
    assert capfd.readouterr().err == ""
    made = []

    def fake_bar(name, seconds):
        assert seconds == 10
        made.append((name, FakeBar()))
        return made[-1][1]

    monkeypatch.setattr(compare, "recall_bar", fake_bar)
    monkeypatch.setattr(Console, "is_animated", True)
    with ComparisonDisplay(Console("never"), is_quiet=False) as shown:
        for event in events_of_two:
            shown.show(event)
    assert [name for name, _ in made] == ["rnn, copying", "gru, copying"]
    assert [(bar.n, bar.postfix) for _, bar in made] == [(6.0, "length 15, 75% right")] * 2


class FakeBar:
    def __init__(self):
        self.n, self.total, self.postfix, self.written = 0, 0, "", []

    def set_postfix_str(self, text, refresh):
        self.postfix = text

    def update(self, steps):
        self.n += steps

    def write(self, text, file):
        self.written.append(text)

    def close(self):
        pass
