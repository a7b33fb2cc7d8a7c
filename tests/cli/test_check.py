import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gru_complete.checking import anomalous_lines
from gru_complete.checking.threshold import LEAST_THRESHOLD

SECRET = "Zorbaxel"
LOW = ["--threshold", "0.0001"]
NOTHING = (0, b"", "nothing unusual found\n")
FORM = re.compile(r'^(.+):(\d+):(\d+): "(.+)" is unlikely here; did you mean "(.+)"\? \(x ([\d,.e+-]+)\)$')


def test_findings_look_like_a_linters_and_are_exit_1(run, trained_model, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("The cat saw river the house.\nA dog ate under.\n")
    code, out, err = run("check", path, "-m", trained_model, *LOW)
    lines = out.decode().splitlines()
    assert (code, err) == (1, "")
    assert lines
    text = path.read_text().splitlines()
    for line in lines:
        name, row, column, word, other, _ = FORM.match(line).groups()
        assert name == str(path)
        assert text[int(row) - 1][int(column) - 1 :].startswith(word)
        assert other != word


def test_columns_count_characters_also_of_tabs_and_of_any_alphabet(run, trained_model):
    text = "\tThe cat saw the house.\n¡Ñandú 🧑🏽‍🚀 \t cat river saw the!\r\nThe cat river saw."
    code, out, _ = run("check", "-", "-m", trained_model, "--json", *LOW, stdin=text.encode())
    assert code == 1
    rows = text.replace("\r\n", "\n").split("\n")
    found = [json.loads(line) for line in out.splitlines()]
    assert {one["line"] for one in found} == {1, 2, 3}
    for one in found:
        assert rows[one["line"] - 1][one["column"] - 1 :].startswith(one["word"])


def test_json_says_what_is_documented(run, trained_model):
    _, out, _ = run("check", "-m", trained_model, "--json", *LOW, stdin=b"The cat saw river the house.")
    for line in out.splitlines():
        one = json.loads(line)
        assert list(one) == ["file", "line", "column", "word", "odds", "alternatives"]
        assert one["file"] == "-"
        assert [set(alternative) for alternative in one["alternatives"]] == [{"word", "ratio", "odds"}] * len(
            one["alternatives"]
        )
        assert one["odds"] == one["alternatives"][0]["odds"] >= 0.0001


@pytest.mark.parametrize("text", [b"", b"\n", b"  \n\n", b"12.3 ... --- 45"])
def test_where_nothing_is_found_stderr_says_so_and_the_exit_code_is_0(run, trained_model, text):
    assert run("check", "-m", trained_model, *LOW, stdin=text) == NOTHING
    assert run("check", "-m", trained_model, *LOW, "--json", stdin=text) == (0, b"", "")


def test_a_high_threshold_finds_nothing(run, trained_model):
    assert run("check", "-m", trained_model, "--threshold", "1e12", stdin=b"The cat saw the house.") == NOTHING


def test_each_file_is_a_text_of_its_own(run, trained_model, tmp_path):
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("The cat saw river the house.")
    second.write_text("A dog under ate the.")
    _, both, _ = run("check", first, second, "-m", trained_model, *LOW)
    alone = [run("check", path, "-m", trained_model, *LOW)[1] for path in (first, second)]
    assert both == b"".join(alone)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (f"The {SECRET} cat\0".encode(), "looks binary"),
        (f"The {SECRET} cat\xe9".encode("latin-1"), "not valid UTF-8"),
        (b"\x1f\x8b\x08" + SECRET.encode(), "gzip"),
    ],
)
def test_what_is_no_text_is_exit_3_and_the_message_quotes_nothing_of_it(run, trained_model, tmp_path, data, problem):
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    code, out, err = run("check", path, "-m", trained_model)
    assert (code, out) == (3, b"")
    assert problem in err
    assert "corpus" not in err
    assert "train" not in err
    assert SECRET not in err


def test_what_cannot_be_done_is_refused_by_its_code(run, trained_model, tmp_path):
    assert run("check", tmp_path / "none.txt", "-m", trained_model)[0] == 3
    assert run("check", "-", "-m", tmp_path / "none", stdin=b"a")[0] == 4
    assert run("check", "-", "-", "-m", trained_model)[0] == 2
    for threshold in ("0", "-1", "nan", "inf"):
        assert run("check", "-m", trained_model, "--threshold", threshold, stdin=b"a")[0] == 2


def test_odd_lines_of_a_log_are_found_with_what_is_odd_in_them(run, trained_model):
    usual = "The cat saw the old house and then the dog ate near the river.\n"
    text = usual * 40 + "The cat saw QZ#9!xX% and then the dog ate near the river.\n" + usual * 40
    code, out, err = run("check", "--lines", "-", "-m", trained_model, stdin=text.encode())
    assert (code, err) == (1, "")
    (line,) = out.decode().splitlines()
    assert re.fullmatch(
        r'-:41:13: "QZ#9!xX%.*" is unlike other lines \(\d+ spreads; [\d.]+ bits per byte, usual: [\d.]+\)', line
    )
    _, out, _ = run("check", "--lines", "--json", "-", "-m", trained_model, stdin=text.encode())
    one = json.loads(out)
    assert list(one) == ["file", "line", "column", "text", "strangeness", "bits_per_byte", "usual_bits_per_byte"]
    assert run("check", "--lines", "-m", trained_model, stdin=b"") == NOTHING
    assert run("check", "--lines", "-m", trained_model, stdin=usual.encode() * 40) == NOTHING


def test_the_threshold_is_the_models_own_unless_another_is_given(run, trained_model, tmp_path):
    text = b"The cat saw river the house. A dog under ate the slowly red bird."
    found = {}
    for threshold in (0.2, 20.0, 1e6):
        path = tmp_path / f"{threshold:g}"
        shutil.copytree(trained_model, path)
        manifest = json.loads((path / "manifest.json").read_text())
        manifest["metrics"]["check_threshold"] = threshold
        (path / "manifest.json").write_text(json.dumps(manifest))
        found[threshold] = run("check", "-m", path, stdin=text)
    for threshold, least in ((0.2, LEAST_THRESHOLD), (20.0, 20.0)):
        assert found[threshold] == run("check", "-m", trained_model, "--threshold", f"{least}", stdin=text)
    assert found[1e6] == NOTHING
    with_low_odds = run("check", "-m", trained_model, "--threshold", "0.2", stdin=text)
    assert with_low_odds[0] == 1
    assert len(with_low_odds[1].splitlines()) > len(found[0.2][1].splitlines())


def test_help_says_the_defaults(run):
    _, out, _ = run("check", "--help")
    said = " ".join(re.sub(r"[│|]", " ", out.decode()).split())
    assert "default: the model's own, measured on its validation split" in said
    assert f"anomaly score; default: {anomalous_lines.DEFAULT_THRESHOLD:g}" in said


def test_check_loads_no_torch_and_nothing_to_draw_with(trained_model):
    code = f"""
import sys, gru_complete.cli.app as app
app.run(["check", "-m", {str(trained_model)!r}])
sys.exit(bool({{"torch", "rich", "matplotlib", "pydantic"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], input=b"The cat.", capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", NOTHING[2].encode())


@pytest.mark.parametrize("seed", range(10))
def test_files_after_one_that_cannot_be_read_are_checked_too(run, trained_model, tmp_path, monkeypatch, seed):
    monkeypatch.chdir(tmp_path)
    rng = random.Random(seed)
    names = []
    for number in range(rng.randint(1, 6)):
        kind = rng.choice(["good", "good", "missing", "binary", "directory"])
        names.append(f"{kind} {number}")
        if kind == "good":
            Path(names[-1]).write_text("The cat saw river the house.\n")
        elif kind == "binary":
            Path(names[-1]).write_bytes(b"\x7fELF\0")
        elif kind == "directory":
            Path(names[-1]).mkdir()
    bad = [name for name in names if not name.startswith("good")]
    code, out, err = run("check", *names, "-m", trained_model, *LOW, "--json")
    assert code == (3 if bad else 1)
    assert {json.loads(line)["file"] for line in out.splitlines()} == set(names) - set(bad)
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert [name for name in bad for line in errors if f"'{name}'" in line] == bad
    assert len(errors) == len(bad)


@pytest.mark.parametrize("name", [b"bad\xff.txt", b"\xc3.txt", "日記.txt".encode(), b"a\nb \x1b[2J.txt"])
def test_a_file_name_of_any_bytes_is_named_in_findings(run, trained_model, tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    try:
        path.write_text("The cat saw river the house.\n")
    except OSError:
        pytest.skip("this file system takes only names in UTF-8")
    code, out, err = run("check", path, "-m", trained_model, *LOW, "--json")
    assert (code, err) == (1, "")
    assert {os.fsencode(json.loads(line)["file"]) for line in out.splitlines()} == {os.fsencode(path)}
    code, out, err = run("check", path, "-m", trained_model, *LOW)
    assert (code, err) == (1, "")
    assert all(line.isprintable() for line in out.decode().splitlines())
