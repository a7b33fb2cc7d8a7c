import json

import pytest


def test_recall_trains_each_cell_and_says_how_often_it_is_right(run):
    arguments = ["recall", "--task", "adding", "--length", "4", "--hidden-size", "8", "--minutes", "0.005"]
    code, out, err = run(*arguments, "--cell", "gru", "--cell", "rnn", "--chrono", "--json")
    assert (code, err) == (0, "")
    gru, rnn = map(json.loads, out.splitlines())
    assert (gru["task"], gru["cell"], gru["chrono_length"], rnn["cell"], rnn["chrono_length"]) == (
        *("adding", "gru", 5, "rnn"),
        None,
    )
    assert gru["right"][1] <= gru["right"][0] <= gru["right"][2]
    assert gru["chance"] == pytest.approx(0.0784)
    assert gru["updates"] > 0

    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    assert b"adding, 4 steps" in out
    assert b"7.8" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "forget"], "--task must be one of copy, adding, fact, not 'forget'"),
        (["--cell", "gnu"], "--cell must be one of rnn, rnn-relu, gru-simple, gru, gru-reset-after, lstm, not 'gnu'"),
        (["--length", "1"], "--length must be between 2 and 5000, not 1"),
        *(
            (["--seed", str(seed)], f"--seed must be between 0 and {2**63 - 1}, not {seed}")
            for seed in (-(2**63), -1, 2**63, 2**63 + 5, 2**64 - 1, 2**64, 10**40)
        ),
        (["--hidden-size", "0"], "--hidden-size must be between 1 and 4096, not 0"),
        (["--minutes", "0"], "--minutes must be a number above 0, not 0.0"),
    ],
)
def test_what_cannot_be_trained_is_refused(run, arguments, message):
    code, out, err = run("recall", *arguments)
    assert (code, out) == (2, b"")
    assert err == f"error: {message}\n"


@pytest.mark.parametrize("task", ["copy", "adding", "fact"])
def test_the_largest_seed_works_in_every_task(run, task):
    arguments = ["--task", task, "--length", "4", "--hidden-size", "4", "--minutes", "0.001"]
    code, _, err = run("recall", *arguments, "--seed", 2**63 - 1)
    assert (code, err) == (0, "")
