import json
import shutil

import numpy as np
import pytest

from gru_complete.errors import CorpusError, UsageError
from gru_complete.evaluation import novelty
from gru_complete.evaluation.novelty import evaluate_novelty, measure_copying
from gru_complete.evaluation.report import read_held_out
from gru_complete.model.directory import load_model
from gru_complete.text.verbatim import CorpusWords, word_hashes

CORPUS = b"one two three four five six \0 seven eight nine ten"


def hashes(*texts):
    return [word_hashes(text) for text in texts]


def test_the_figures_of_two_texts_agree_with_a_count_by_hand():
    # Runs of four: "two three four five" and "three four five six" of 3; none of 2.
    report = measure_copying(
        CorpusWords.from_text(CORPUS), hashes(b"two three four five six seven", b"no eight nine no one")
    )
    assert (report.num_texts, report.num_words) == (2, 11)
    assert (report.longest_run.value, report.max_run) == (3.5, 5)
    assert report.shares[4].value == pytest.approx((2 / 3 + 0) / 2)
    assert set(report.shares) == {4}


def test_the_json_of_a_single_text_has_no_infinities():
    record = measure_copying(CorpusWords.from_text(CORPUS), hashes(b"one two three four")).to_json()
    assert record["longest_run"] == {"value": 4, "low": None, "high": None, "max": 4}
    json.dumps(record, allow_nan=False)  # must not raise


def test_no_run_spans_two_texts():
    report = measure_copying(CorpusWords.from_text(CORPUS), hashes(b"one two", b"three four", b"five six", b"x", b"y"))
    assert (report.longest_run.value, report.max_run, report.shares) == (6 / 5, 2, {})


def test_the_interval_is_not_empty_when_all_or_nothing_is_copied():
    corpus = CorpusWords.from_text(b" ".join(f"w{index}".encode() for index in range(40)))
    all_copied = measure_copying(corpus, hashes(corpus.text, corpus.text)).shares[12]
    none_copied = measure_copying(corpus, hashes(b"x " * 12, b"y " * 12)).shares[12]
    assert (all_copied.value, none_copied.value) == (1, 0)
    assert (all_copied.high, none_copied.low) == (1, 0)
    assert all_copied.low == pytest.approx(1 - none_copied.high)
    assert 0.3 < all_copied.low < 0.4  # Wilson, 2 of 2


def test_generated_text_is_compared_with_human_text_at_the_same_places(trained_model):
    model = load_model(trained_model)
    stream, _ = read_held_out(model)
    told = []
    report = evaluate_novelty(model, stream, num_texts=3, num_tokens=80, progress=told.append)
    assert sum(told) == 6
    assert report.generated_by_network is not None
    assert report.generated.num_words == report.held_out.num_words == report.generated_by_network.num_words > 0
    for part in (report.generated, report.held_out):
        assert 0 <= part.shares[4].value <= 1
        assert 1 <= part.longest_run.value <= part.max_run
    again = evaluate_novelty(model, stream, num_texts=3, num_tokens=80)
    assert again == report
    alone = evaluate_novelty(model._replace(mixture=None), stream, num_texts=5, num_tokens=80)
    assert alone.generated_by_network is None
    assert "generated_without_counts" not in alone.to_json()


def test_what_the_base_has_in_common_with_the_text_is_told_apart(trained_model):
    model = load_model(trained_model)
    stream, _ = read_held_out(model)
    report = evaluate_novelty(model, stream, base=model._replace(mixture=None), num_texts=3, num_tokens=80)
    assert report.generated_by_base == report.generated_by_network
    record = report.to_json()
    assert record["generated_by_base"] == record["generated_without_counts"] != record["generated"]


def test_text_from_the_corpus_is_found_completely(trained_model):
    model = load_model(trained_model)
    stream = np.fromfile(trained_model.with_name("tiny.run") / "training.tokens", "<u2")
    report = evaluate_novelty(model, stream, num_texts=5, num_tokens=80)
    assert report.held_out.shares[4].value == 1
    assert report.generated.shares[4].value < 1


def test_places_are_at_word_ends_within_a_document(trained_model):
    model = load_model(trained_model)
    stream, _ = read_held_out(model)
    prompts, followings = novelty._sample_places(model, stream, 8, 25)
    text = model.tokenizer.decode(stream.tolist())
    assert len(prompts) == 8
    for prompt, following in zip(prompts, followings, strict=True):
        assert prompt + following in text
        assert following[:1].isspace()


def test_a_text_that_is_too_short_to_continue_is_refused(trained_model):
    model = load_model(trained_model)
    with pytest.raises(CorpusError, match="too short"):
        evaluate_novelty(model, np.array([0, *model.tokenizer.encode(b"The"), 0]))


def test_eval_novelty_prints_a_table_or_json(run, trained_model, tmp_path):
    code, out, err = run("eval", "-m", trained_model, "--novelty", "--json")
    assert (code, err) == (0, "")
    record = json.loads(out)
    assert {"tokens_per_text", "generated", "generated_without_counts", "held_out"} == set(record["novelty"])
    assert {"texts", "words", "longest_run", "copied"} == set(record["novelty"]["generated"])
    assert {"value", "low", "high", "max"} == set(record["novelty"]["held_out"]["longest_run"])
    _, table, _ = run("eval", "-m", trained_model, "--novelty")
    for part in ("by the network alone", "by people (held out)", "longest run", "of runs of 8 words"):
        assert part in table.decode()
    assert "novelty" not in json.loads(run("eval", "-m", trained_model, "--json")[1])


def test_without_a_run_directory_novelty_is_refused(run, trained_model, tmp_path):
    shutil.copytree(trained_model, tmp_path / "alone")
    text = tmp_path / "text.txt"
    text.write_text("The cat ate the bird.\n" * 50)
    code, out, err = run("eval", text, "-m", tmp_path / "alone", "--novelty")
    assert (code, out) == (2, b"")
    assert "the training text of alone is missing" in err
    with pytest.raises(UsageError):
        evaluate_novelty(load_model(tmp_path / "alone"), read_held_out(load_model(trained_model))[0])


def test_the_shares_of_all_run_lengths_agree_with_a_count_by_hand():
    words = [f"w{index}".encode() for index in range(20)]
    text = b" ".join([b"new", *words[3:17]])  # of 15 words 12 runs of four, 8 of eight, 4 of twelve; "new" in one each
    report = measure_copying(CorpusWords.from_text(b" ".join(words)), hashes(text))
    shares = {length: share.value for length, share in report.shares.items()}
    assert shares == pytest.approx({4: 11 / 12, 8: 7 / 8, 12: 3 / 4})
    assert (report.longest_run.value, report.max_run) == (14, 14)


def test_texts_with_the_same_share_have_that_share():
    # One of three runs each: of three texts that is 1/3, not one or none of three.
    texts = hashes(*[b"one two three four x y"] * 3)
    share = measure_copying(CorpusWords.from_text(CORPUS), texts).shares[4]
    assert share.value == pytest.approx(1 / 3)
    half = measure_copying(CorpusWords.from_text(CORPUS), hashes(b"one two three four x")).shares[4]
    assert half.value == 1 / 2
    assert 0 < half.low < 1 / 2 < half.high < 1


def test_all_writers_are_compared_on_the_same_number_of_words_at_each_place(trained_model, monkeypatch):
    written = {
        "people": [b"one two three four five cut", b" seven eight nine ten cut"],
        "both": [b"one two three four no cut", b" six seven eight nine ten cut"],
        "network": [b"no two three four five six cut", b" x y cut"],
    }
    asked = iter([written["both"], written["network"]])
    monkeypatch.setattr(novelty, "corpus_words", lambda *_: CorpusWords.from_text(CORPUS))
    monkeypatch.setattr(novelty, "_sample_places", lambda *_: ([b"", b""], written["people"]))
    monkeypatch.setattr(novelty, "_generate", lambda *_: next(asked))
    report = evaluate_novelty(load_model(trained_model), np.zeros(0, np.uint16))
    # The last word of each may be a part of one; of the others the first five are compared, and the first two.
    people, both, network = report.held_out, report.generated, report.generated_by_network
    assert people.num_words == both.num_words == network.num_words == 5 + 2
    assert [part.shares[4].value for part in (people, both, network)] == [1, 1 / 2, 1 / 2]
    assert [part.longest_run.value for part in (people, both, network)] == [(5 + 2) / 2, (4 + 1) / 2, (4 + 0) / 2]
    assert [part.max_run for part in (people, both, network)] == [5, 4, 4]
