import io
import json

import numpy as np
import pytest

from gru_complete.cli import heatmap
from gru_complete.cli.heatmap import Look, bar
from gru_complete.model_dir import CELLS, load_model, save_files


@pytest.fixture
def model_of(trained_model, tmp_path):
    """Make an untrained model of any cell and depth with the tiny model's tokenizer."""
    base = load_model(trained_model)

    def make(cell, num_layers=1):
        arch = base.manifest.arch._replace(cell=cell, num_layers=num_layers)
        generator = np.random.default_rng(0)
        shapes = arch.tensor_shapes().items()
        weights = {name: generator.normal(size=shape, scale=0.5).astype(np.float32) for name, shape in shapes}
        path = tmp_path / f"{cell}-{num_layers}"
        path.mkdir()
        save_files(
            path, arch=arch, weights=weights, tokenizer=base.tokenizer, metrics={}, training={}, abbreviations=[]
        )
        return path

    return make


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
    gates = {"rnn": "state", "gru-simple": "update", "lstm": "input"}.get(cell, "update")
    assert text.count(f"bits  {gates}") == num_layers
    assert ("layer 2 of 2" in text) == (num_layers == 2)
    record = json.loads(run("inspect", "The cat ate", "-m", path, "--json")[1])
    assert record["cell"] == cell
    assert {unit["layer"] for unit in record["units"]} == set(range(1, num_layers + 1))


@pytest.mark.parametrize("width", [80, 100, 200])
def test_lines_fit_the_width(model_of, width):
    from rich.console import Console as RichConsole

    from gru_complete.evaluation.gates import trace

    for cell in CELLS:
        read = trace(load_model(model_of(cell)), "The 日本語 cat ate a \u200b\x1b[31m".encode())
        look = Look(width, has_color=False)
        units = [read.most_varied(0, 24)]
        rich = RichConsole(width=10_000, record=True, file=io.StringIO())
        rich.print(heatmap.draw(read, units, look))
        lines = rich.export_text().splitlines()
        assert max(heatmap.cell_len(line) for line in lines) <= width


def test_values_are_bars_whose_ends_mean_closed_and_open():
    assert [bar(value) for value in (0, 0.099, 0.1, 0.5, 0.9, 0.901, 1)] == ["·", "·", "▁", "▄", "▇", "█", "█"]


def test_colour_only_when_wanted(run, trained_model):
    code, out, _ = run("--color", "always", "inspect", "The cat", "-m", trained_model)
    assert code == 0
    assert b"\x1b[" in out


def test_standard_input_is_read(run, trained_model):
    _, piped, _ = run("inspect", "-", "-m", trained_model, "--json", stdin=b"The cat\n")
    _, given, _ = run("inspect", "The cat", "-m", trained_model, "--json")
    assert piped == given


def test_text_that_is_no_utf8_is_shown_byte_by_byte(run, trained_model):
    code, out, _ = run("inspect", "-", "-m", trained_model, stdin=b"a\xff\x1b[31m")
    assert code == 0
    assert "\\xff" in out.decode()
    assert b"\x1b" not in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "no text to look into"),
        ([""], 3, "there is no text to look into"),
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
