import json
import subprocess
import sys

import pytest

from gru_complete.cli.heatmap import bar
from gru_complete.model.architecture import CELLS
from gru_complete.model.directory import load_model


def test_a_row_for_each_token_without_colour_in_a_pipe(run, trained_model):
    code, out, err = run("inspect", "The cat\nate.", "-m", trained_model, "--units", 4)
    assert (code, err) == (0, "")
    assert b"\x1b" not in out
    lines = out.decode().splitlines()
    pieces = load_model(trained_model).tokenizer
    tokens = [pieces.pieces[token].decode() for token in pieces.encode(b"The cat\nate.")]
    head = next(number for number, line in enumerate(lines) if line.lstrip().startswith("unit"))
    rows = lines[head + 1 : head + 1 + len(tokens)]
    assert [row.split()[0] for row in rows] == [token.replace(" ", "␣").replace("\n", "\\n") for token in tokens]
    assert "the network alone" in lines[0]
    assert "near 0 or 1 here" in out.decode()
    assert "memory half-life, tokens: median" in out.decode()


def test_the_map_is_the_gates(run, trained_model):
    _, out, _ = run("inspect", "The cat ate", "-m", trained_model, "--json", "--units", 5)
    record = json.loads(out)
    _, out, _ = run("inspect", "The cat ate", "-m", trained_model, "--units", 5)
    lines = out.decode().splitlines()
    for index, token in enumerate(record["tokens"]):
        name = token["text"].replace(" ", "␣")
        cells = next(line for line in lines if line.startswith(f"{name} ")).split()
        for gate, (mean, bars) in zip(("update", "reset"), (cells[2:4], cells[4:6]), strict=True):
            assert float(mean) == pytest.approx(token["gates"][gate][0], abs=0.0051)
            assert bars == "".join(bar(unit["gates"][gate][index]) for unit in record["units"])
        assert float(cells[1]) == pytest.approx(token["bits"], abs=0.051)
        switched = [f"{'+' if switch['change'] > 0 else '-'}{switch['unit']}" for switch in token["switched"]]
        assert cells[6:] == switched


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_and_depth_can_be_looked_into(run, model_of, cell, num_layers):
    path = model_of(cell, num_layers)
    code, out, err = run("inspect", "The cat ate", "-m", path)
    assert (code, err) == (0, "")
    text = out.decode()
    gates = {"rnn": "state", "rnn-relu": "state", "gru-simple": "update", "lstm": "input"}.get(cell, "update")
    assert text.count(f"bits  {gates}") == num_layers
    assert ("layer 2 of 2" in text) == (num_layers == 2)
    record = json.loads(run("inspect", "The cat ate", "-m", path, "--json")[1])
    assert record["cell"] == cell
    assert {unit["layer"] for unit in record["units"]} == set(range(1, num_layers + 1))


@pytest.mark.parametrize("terminal", ["xterm-256color", "dumb"])
def test_colour_is_written_where_it_is_asked_for(run, trained_model, monkeypatch, terminal):
    monkeypatch.setenv("TERM", terminal)
    code, out, _ = run("--color", "always", "inspect", "The cat", "-m", trained_model)
    assert code == 0
    assert b"\x1b[" in out


def test_standard_input_is_read(run, trained_model):
    _, piped, _ = run("inspect", "-", "-m", trained_model, "--json", stdin=b"The cat\n")
    _, given, _ = run("inspect", "The cat", "-m", trained_model, "--json")
    assert piped == given


def test_the_gates_are_shown_without_torch(trained_model):
    code = (
        "import sys; from gru_complete.cli import app;"
        f"app.run(['inspect', 'The cat', '-m', {str(trained_model)!r}, '--find', '[A-Z]']);"
        "print([name for name in ('torch', 'pydantic', 'matplotlib') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.splitlines()[-1] == "[]"


def test_half_a_character_is_shown_byte_by_byte_and_no_sequence_reaches_the_terminal(run, trained_model):
    code, out, _ = run("inspect", "-", "-m", trained_model, stdin=b"a\x1b[31m\xc3")
    assert code == 0
    assert "\\xc3" in out.decode()
    assert b"\x1b" not in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "no text to inspect"),
        ([""], 3, "there is no text to inspect"),
        (["x", "--units", "0"], 2, "--units"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_an_exit_code(run, trained_model, arguments, code, message):
    found, out, err = run("inspect", *arguments, "-m", trained_model)
    assert (found, out) == (code, b"")
    assert message in err
    assert "Traceback" not in err


def test_a_long_text_is_refused_before_it_is_all_read(run, trained_model):
    code, _, err = run("inspect", "-", "-m", trained_model, stdin=b"The cat ate. " * 200_000)
    assert code == 3
    assert "head -c" in err


def test_pictures_and_the_page_are_written_and_nothing_is_lost(run, trained_model, tmp_path):
    svg, html = tmp_path / "a.svg", tmp_path / "a.html"
    html.write_text("mine")
    code, out, err = run("inspect", "The cat", "-m", trained_model, "--svg", svg, "--html", html)
    assert (code, out) == (2, b"")
    assert "a.html exists" in err
    assert "--replace" in err
    assert (html.read_text(), svg.exists()) == ("mine", False)
    code, out, err = run("inspect", "The cat", "-m", trained_model, "--svg", svg, "--html", html, "--replace")
    assert code == 0
    assert err.splitlines() == [f"svg: {svg}", f"html: {html}"]
    assert svg.read_text().startswith("<svg")
    assert html.read_text().startswith("<!DOCTYPE html>")
    assert b"update" in out


def test_a_directory_is_not_replaced_and_a_missing_one_not_made(run, trained_model, tmp_path):
    code, _, err = run("inspect", "x", "-m", trained_model, "--svg", tmp_path, "--replace")
    assert code == 2
    assert "exists" in err
    assert run("inspect", "x", "-m", trained_model, "--svg", tmp_path / "no" / "a.svg")[0] == 5


@pytest.mark.parametrize("as_json", [False, True], ids=["map", "json"])
@pytest.mark.parametrize("name", ["svg", "html"])
def test_a_picture_that_fails_costs_no_figures(run, trained_model, tmp_path, monkeypatch, name, as_json):
    def fail(_):
        raise ValueError

    monkeypatch.setattr("gru_complete.inspection.svg.render_svg", fail)
    monkeypatch.setattr("gru_complete.inspection.html_page.render_page", fail)
    options = [f"--{name}", tmp_path / "a", *(["--json"] if as_json else [])]
    code, out, err = run("inspect", "The cat", "-m", trained_model, *options)
    assert code == 70
    assert "internal error: ValueError" in err
    assert b"update" in out


def test_without_matplotlib_a_png_is_refused_before_any_work(run, monkeypatch, tmp_path):
    monkeypatch.setattr("gru_complete.inspection.png.find_spec", lambda _: None)
    code, out, err = run("inspect", "The cat", "-m", "no-such-model", "--png", tmp_path / "a.png")
    assert (code, out) == (2, b"")
    assert "matplotlib" in err
    assert "pip install matplotlib" in err


def test_a_png_is_written(run, trained_model, tmp_path):
    pytest.importorskip("matplotlib", reason="PNG pictures need matplotlib")
    path = tmp_path / "a.png"
    assert run("inspect", "The cat", "-m", trained_model, "--png", path)[0] == 0
    assert path.read_bytes().startswith(b"\x89PNG")


def test_units_that_follow_a_feature_are_found_in_the_text_kept_apart(run, trained_model):
    code, out, err = run("inspect", "-m", trained_model, "--find", "[A-Z]")
    assert (code, err) == (0, "")
    text = out.decode()
    assert text.startswith("[A-Z]\nchosen on ")
    assert "the commoner" in text
    record = json.loads(run("inspect", "-m", trained_model, "--find", "[A-Z]", "--json")[1])
    (found,) = record["find"]
    assert found["feature"] == "[A-Z]"
    accuracies = [unit["accuracy"] for unit in found["units"]]
    assert all(0 <= one["low"] <= one["value"] <= one["high"] <= 1 for one in accuracies)
    num_tokens = json.loads((trained_model.with_name("tiny.run") / "held_out.json").read_text())["num_tokens"]
    assert found["num_fit"] + found["num_tried"] == num_tokens - 2  # all but the document ends


def test_the_units_found_come_first_in_the_map(run, model_of, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("The (red) cat ate (a bird) and slept. " * 30)
    arguments = ["-m", model_of("lstm", 2), "--find", "brackets", "--text", path]
    record = json.loads(run("inspect", "The cat", *arguments, "--json", "--units", 6)[1])
    (found,) = record["find"]
    for layer in (1, 2):
        followers = [unit["unit"] for unit in found["units"] if unit["layer"] == layer]
        shown = [unit["unit"] for unit in record["units"] if unit["layer"] == layer]
        assert shown[: len(set(followers))] == list(dict.fromkeys(followers))
    best = found["units"][0]
    assert [u["follows"] for u in record["units"] if (u["layer"], u["unit"]) == (best["layer"], best["unit"])] == [
        "brackets"
    ]
    code, out, _ = run("inspect", "The cat", *arguments)
    assert code == 0
    assert "the units on the left follow best: layer" in out.decode()


def test_units_are_found_for_pairs(run, trained_model, tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    lines = []
    for index in range(60):
        noun, right, wrong = ("cat", "his", "her") if index % 2 else ("bird", "her", "his")
        start = f"The {noun} {'ate ' * (index % 25 + 1)}"
        texts = {"right": f"{start}{right} dog", "wrong": f"{start}{wrong} dog"}
        lines.append(json.dumps({**texts, "phenomenon": "gender\x1b", "distance": index % 25 + 2}))
    pairs.write_text("\n".join(lines))
    code, out, err = run("inspect", "-m", trained_model, "--find", f"pairs:{pairs}")
    assert (code, err) == (0, "")
    assert "gender\\x1b: female or male" in out.decode()
    assert "closed all" in out.decode()
    (found,) = json.loads(run("inspect", "-m", trained_model, "--find", f"pairs:{pairs}", "--json")[1])["find"]
    assert set(found["units"][0]["gate"]) == {"at_cue", "mean", "smallest", "largest", "closed"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--find", "(a"], 2, "not a regular expression"),
        (["--find", "zzzz"], 3, "nowhere in the first half"),
        (["--find", "pairs:/no/such/file"], 3, "cannot read pairs"),
        (["--find", "quotes", "--text", "/no/such/file"], 3, "cannot read '/no/such/file'"),
        (["--find", "pairs:x", "--text", "y"], 2, "--text"),
        (["x", "--text", "y"], 2, "--text"),
        (["--find", "quotes", "--svg", "a.svg"], 2, "--svg needs a text"),
        (["x", "--svg", "/no/a", "--html", "/no/a"], 2, "the same file"),
    ],
)
def test_what_cannot_be_found_is_one_line_and_an_exit_code(run, trained_model, arguments, code, message):
    found, out, err = run("inspect", *arguments, "-m", trained_model)
    assert (found, out) == (code, b"")
    assert message in err.splitlines()[0]
    assert len(err.splitlines()) <= 2
