import json
import re
import shutil
import sys

import pytest

from gru_complete.cli.console import Console
from gru_complete.evaluation import report
from gru_complete.evaluation.suggestions import CONFIDENCES
from gru_complete.text.terminators import TERMINATORS


def test_the_held_out_part_is_scored_when_no_corpus_is_given(run, trained_model):
    code, out, err = run("eval", "-m", trained_model, "--json")
    assert (code, err) == (0, "")
    record = json.loads(out)
    assert {"bits_per_byte", "nats_per_char", "perplexity", "num_bytes", "num_chars", "num_tokens"} <= set(record)
    assert list(record["next_token"]) == ["top1", "top3", "top5"]
    assert 0 < record["next_token"]["top1"] <= record["next_token"]["top3"] <= record["next_token"]["top5"] <= 1
    manifest = json.loads((trained_model / "manifest.json").read_bytes())
    assert record["num_bytes"] == manifest["metrics"]["held_out_bytes"]
    assert record["bits_per_byte"] == pytest.approx(manifest["metrics"]["held_out_bits_per_byte"], rel=1e-5)


def test_a_text_is_scored_whatever_its_source(run, trained_model, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("The cat ate the bird.\n" * 20)
    _, from_file, _ = run("eval", path, "-m", trained_model, "--json")
    _, from_pipe, _ = run("eval", "-", "-m", trained_model, "--json", stdin=path.read_bytes())
    first, second = json.loads(from_file), json.loads(from_pipe)
    assert first["num_bytes"] == 440
    assert first["bits_per_byte"] == second["bits_per_byte"]


def test_a_person_sees_a_table_without_colour_codes_in_a_pipe(run, trained_model):
    _, out, _ = run("eval", "-m", trained_model)
    assert "bits per byte" in out.decode()
    assert b"\x1b" not in out


def test_without_a_run_directory_a_text_is_asked_for(run, trained_model, tmp_path):
    shutil.copytree(trained_model, tmp_path / "alone")
    code, out, err = run("eval", "-m", tmp_path / "alone")
    assert (code, out) == (2, b"")
    assert "gru-complete eval held-out.txt" in err


def test_pairs_are_scored_by_phenomenon_and_distance(run, trained_model, tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(
        json.dumps({"right": "The cat", "wrong": "zqx jvk", "phenomenon": "words", "distance": 3})
        + "\n"
        + json.dumps({"right": "vqz xjw kq", "wrong": "the dog", "phenomenon": "nonsense", "distance": 15})
        + "\n"
    )
    code, out, _ = run("eval", "-m", trained_model, "--pairs", pairs, "--json")
    assert code == 0
    assert json.loads(out)["pairs"] == {
        "accuracy": 0.5,
        "pairs": 2,
        "by_phenomenon": {"nonsense": {"accuracy": 0.0, "pairs": 1}, "words": {"accuracy": 1.0, "pairs": 1}},
        "by_distance": {"1-5": {"accuracy": 1.0, "pairs": 1}, "11-20": {"accuracy": 0.0, "pairs": 1}},
    }
    _, table, _ = run("eval", "-m", trained_model, "--pairs", pairs)
    assert "distance 11-20 words" in table.decode()


def test_names_from_outside_cannot_steer_a_terminal(run, trained_model, tmp_path):
    model = tmp_path / "m\x1b[2Jx"
    shutil.copytree(trained_model, model)
    shutil.copytree(trained_model.with_name("tiny.run"), tmp_path / "m\x1b[2Jx.run")
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"right": "a", "wrong": "b", "phenomenon": "n\x1b[31m", "distance": 1}) + "\n")
    for options, part in (([], "m\\x1b[2Jx"), (["--pairs", pairs], "n\\x1b[31m")):
        code, out, _ = run("eval", "-m", model, *options)
        assert code == 0
        assert b"\x1b" not in out
        assert part in out.decode()


@pytest.mark.parametrize(
    "line",
    ["nonsense", "[]", "{}", '{"right": "a", "wrong": "b", "phenomenon": "c"}',
     '{"right": 1, "wrong": "a", "phenomenon": "c", "distance": 1}',
     '{"right": "b", "wrong": "\\ud800", "phenomenon": "c", "distance": 1}',
     '{"right": "b", "wrong": "a", "phenomenon": "c", "distance": -1}'],
)  # fmt: skip
def test_a_line_that_is_no_pair_is_named(run, trained_model, tmp_path, line):
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"right": "a", "wrong": "b", "phenomenon": "c", "distance": 1}\n' + line + "\n")
    code, _, err = run("eval", "-m", trained_model, "--pairs", pairs)
    assert code == 3
    assert "line 2" in err


def test_a_missing_pairs_file_and_an_empty_one_are_input_errors(run, trained_model, tmp_path):
    (tmp_path / "empty.jsonl").write_bytes(b"")
    for name, part in (("none.jsonl", "no such file"), ("empty.jsonl", "holds no pairs")):
        code, _, err = run("eval", "-m", trained_model, "--pairs", tmp_path / name)
        assert code == 3
        assert part in err


def test_a_gpu_that_is_not_there_is_an_environment_error(run, trained_model, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, _, err = run("eval", "-m", trained_model, "--device", "cuda")
    assert code == 5
    assert "--device auto" in err


def test_online_scores_every_way_to_learn_from_the_text(run, trained_model, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("Zorbax the cat ate Zorbax the bird.\n" * 40)
    _, without, _ = run("eval", path, "-m", trained_model, "--json")
    code, out, err = run("eval", path, "-m", trained_model, "--online", "--json")
    assert (code, err) == (0, "")
    plain, record = json.loads(without), json.loads(out)
    sets = ["static", "adapted", "cache", "dynamic", "adapted_cache", "adapted_dynamic", "cache_dynamic"]
    for name in [*sets, "adapted_cache_dynamic"]:
        assert set(record[name]) == {"bits_per_byte", "nats_per_char", "microseconds_per_token"}
        assert record[name]["microseconds_per_token"] > 0
    assert set(record) - set(plain) == {*sets, "adapted_cache_dynamic"} - {"adapted"}
    assert record["bits_per_byte"] == plain["bits_per_byte"]
    assert record["static"]["bits_per_byte"] == pytest.approx(plain["bits_per_byte"], rel=1e-5)
    assert record["adapted"]["bits_per_byte"] == pytest.approx(plain["adapted"]["bits_per_byte"], rel=1e-5)
    for name in ("adapted", "cache", "adapted_cache"):
        assert record[name]["bits_per_byte"] < record["static"]["bits_per_byte"]


def test_online_shows_the_gain_of_each_way_in_a_table(run, trained_model):
    _, out, _ = run("eval", "-m", trained_model, "--online")
    static, _ = re.search(r"^ *static +(\d\.\d{4}) +([\d,]+)$", out.decode(), re.MULTILINE).groups()
    for name in ("cache", "dynamic", "adapted + cache + dynamic"):
        row = re.search(rf"^ *{re.escape(name)} +(\d\.\d{{4}}) +(-?\d\.\d{{4}}) +[\d,]+$", out.decode(), re.MULTILINE)
        bits_per_byte, gain = map(float, row.groups())
        assert gain == pytest.approx(float(static) - bits_per_byte, abs=1.1e-4)


def test_marginal_scores_the_beginning_in_both_ways(run, trained_model, tmp_path, monkeypatch):
    path = tmp_path / "text.txt"
    path.write_text("The cat ate the bird. Zorbax saw the river.\n" * 4)
    _, without, _ = run("eval", path, "-m", trained_model, "--json")
    code, out, err = run("eval", path, "-m", trained_model, "--marginal", "--json")
    assert (code, err) == (0, "")
    plain, record = json.loads(without), json.loads(out)
    assert set(record) - set(plain) == {"marginal"}
    found = record["marginal"]
    assert set(found) == {"bits_per_byte", "one_segmentation_bits_per_byte", "num_bytes"}
    assert found["num_bytes"] == record["num_bytes"] == 4 * 44
    # All of the text, so that the cost of one segmentation is the headline, computed by other code.
    assert found["one_segmentation_bits_per_byte"] == pytest.approx(record["bits_per_byte"], rel=1e-4)
    assert found["bits_per_byte"] < found["one_segmentation_bits_per_byte"]

    monkeypatch.setattr(report, "SAMPLE_BYTES", 50)
    _, out, _ = run("eval", path, "-m", trained_model, "--marginal")
    one, summed = re.search(
        r"static, first 50 bytes +(\d\.\d{4})\n +summed over segmentations +(\d\.\d{4})\n", out.decode()
    ).groups()
    assert float(summed) <= float(one)


def test_suggestions_are_listed_by_the_probability_asked_for(run, trained_model, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("The cat ate the bird.\nThe old dog saw the river.\n")
    code, out, err = run("eval", path, "-m", trained_model, "--suggestions", "--json")
    assert (code, err) == (0, "")
    offers = json.loads(out)["offers"]
    assert [offer["confidence"] for offer in offers] == list(CONFIDENCES)
    assert {offer["num_positions"] for offer in offers} == {len(path.read_text())}
    shares = [offer["offered"]["value"] for offer in offers]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0
    _, out, _ = run("eval", path, "-m", trained_model, "--suggestions")
    rows = re.findall(r"^ *(0\.\d+) +(\d+\.\d) \(\d+\.\d\.\.\d+\.\d\)", out.decode(), re.MULTILINE)
    assert [(float(confidence), float(share)) for confidence, share in rows] == [
        (offer["confidence"], pytest.approx(100 * offer["offered"]["value"], abs=0.051)) for offer in offers
    ]


def test_of_a_single_place_no_interval_is_known_and_json_is_json(run, trained_model, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("T")

    def refuse(name):
        raise AssertionError(name)

    code, out, _ = run("eval", path, "-m", trained_model, "--suggestions", "--json")
    assert code == 0
    (saved,) = {tuple(offer["saved"].values()) for offer in json.loads(out, parse_constant=refuse)["offers"]}
    assert saved[1:] == (None, None)
    assert b"inf" not in run("eval", path, "-m", trained_model, "--suggestions")[1]


def test_what_takes_long_shows_on_a_terminal_how_far_it_is(run, trained_model, tmp_path, monkeypatch):
    path = tmp_path / "text.txt"
    path.write_text("The cat ate the bird.")
    monkeypatch.setattr(Console, "is_animated", True)
    code, out, err = run("eval", path, "-m", trained_model, "--marginal", "--suggestions", "--json")
    assert code == 0
    assert {"marginal", "offers"} <= set(json.loads(out))
    for name in ("summing", "suggestions"):
        assert re.search(rf"{name}: +0% \|.*\| 0/21, .* left", err)


def test_what_else_is_asked_of_the_text_is_not_lost_beside_pairs(run, trained_model, tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"right": "The cat", "wrong": "zqx jvk", "phenomenon": "words", "distance": 3}\n')
    _, alone, _ = run("eval", "-m", trained_model, "--pairs", pairs, "--json")
    _, both, _ = run("eval", "-m", trained_model, "--pairs", pairs, "--online", "--json")
    assert set(json.loads(alone)) == {"model", "pairs"}
    assert {"bits_per_byte", "static", "pairs"} <= set(json.loads(both))


def test_effective_context_says_how_far_back_the_network_remembers(run, trained_model, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("The cat ate the bird. The old dog saw the river.\n" * 60)
    code, out, err = run("eval", path, "-m", trained_model, "--effective-context", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)["memory"]
    trained = found["gradient_flow"]["trained"]
    assert trained["shares"][0][0] == 1
    extra = found["effective_context"]["extra_nats"]
    assert list(extra)[:3] == ["1", "2", "4"]
    assert abs(list(extra.values())[-1][0]) < abs(extra["1"][0])

    _, out, _ = run("eval", path, "-m", trained_model, "--effective-context")
    assert f"{trained['half_lives'][0]:.1f}".encode() in out
    assert f"{extra['1'][0]:.3f} (".encode() in out


def test_a_text_too_short_to_measure_the_memory_is_refused(run, trained_model, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("Mr Watson goes to Paris.\n")
    code, out, err = run("eval", path, "-m", trained_model, "--effective-context")
    assert (code, out) == (3, b"")
    assert "tokens; to follow gradients takes" in err
    assert err.startswith("error: ")


def test_the_whole_table_is_printed(run, trained_model):
    code, out, err = run("eval", "-m", trained_model, "--keystrokes", "--json")
    assert (code, err) == (0, "")
    record = json.loads(out)
    savings, next_word = record["keystroke_savings"], record["next_word"]
    assert savings["intervals"]["1"]["low"] < savings["1"] < savings["3"] < savings["intervals"]["3"]["high"] < 1
    assert 0 < next_word["top1"] <= next_word["top3"] <= next_word["top5"] < 1
    assert record["baselines"]["xz"]["bits_per_byte"] > record["bits_per_byte"]
    assert 0 < record["calibration"]["expected_error"] < 1
    assert record["calibration"]["accuracy"] == pytest.approx(record["next_token"]["top1"])
    assert sum(one["num_tokens"] for one in record["calibration"]["bins"]) == record["num_tokens"]
    _, table, _ = run("eval", "-m", trained_model, "--keystrokes")
    for part in ("xz, after the end of the training text", "calibration error", "next word first", "keys saved with 3"):
        assert part in table.decode()
    assert f"{100 * savings['3']:.1f} (" in table.decode()


def test_the_simulated_user_writes_only_when_asked_to(run, trained_model):
    code, out, _ = run("eval", "-m", trained_model, "--json")
    assert code == 0
    assert not {"keystroke_savings", "next_word"} & set(json.loads(out))
    _, table, _ = run("eval", "-m", trained_model)
    assert "keys saved" not in table.decode()


def test_a_text_without_words_has_no_keys_to_save(run, trained_model, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("... !!!\n")
    code, out, _ = run("eval", path, "-m", trained_model, "--keystrokes", "--json")
    assert code == 0
    assert "keystroke_savings" not in json.loads(out)


def test_the_reliability_diagram_is_drawn(run, trained_model, tmp_path):
    pytest.importorskip("matplotlib")
    code, _, err = run("eval", "-m", trained_model, "--plot", tmp_path / "a.svg")
    assert (code, err) == (0, "")
    assert b"</svg>" in (tmp_path / "a.svg").read_bytes()


def test_a_picture_that_cannot_be_drawn_is_refused_before_the_work(run, trained_model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, out, err = run("eval", "-m", trained_model, "--plot", tmp_path / "a.png")
    assert (code, out) == (5, b"")
    assert "pip install matplotlib" in err
    code, _, err = run("eval", "-m", trained_model, "--plot", tmp_path / "a.txt")
    assert code == 2
    assert "does not end in .png, .svg or .pdf" in err


def test_novelty_of_a_single_text_has_no_interval_and_json_stays_json(run, trained_model, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("The old cat ate a small bird near the river and then slowly saw the house. " * 4)
    code, out, err = run("eval", path, "-m", trained_model, "--novelty", "--json")
    assert (code, err) == (0, "")
    novelty = json.loads(out, parse_constant=pytest.fail)["novelty"]
    assert novelty["held_out"]["texts"] == 1
    longest = novelty["held_out"]["longest_run"]
    assert (longest["low"], longest["high"]) == (None, None)
    assert longest["value"] == longest["max"]


GREEK = "\u037e"  # a question mark that normal forms turn into a semicolon


def test_a_text_with_a_sentence_for_each_terminator_of_unicode_costs_what_its_bytes_cost(run, trained_model, tmp_path):
    path = tmp_path / "sentences.txt"
    path.write_text(
        "".join(f"The cat saw a bird{terminator} " for terminator in sorted(TERMINATORS - {GREEK})), encoding="utf-8"
    )
    code, out, err = run("eval", path, "-m", trained_model, "--json")
    report = json.loads(out)
    assert (code, err) == (0, "")
    assert report["num_bytes"] == path.stat().st_size
    assert 0 < report["bits_per_byte"] < 8
