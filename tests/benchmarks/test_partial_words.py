"""What benchmarks/partial_words.py counts."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "partial_words.py"
TEXT = "The old dog saw the small bird. A cat liked the red river slowly. It is a b c d."


@pytest.fixture
def benchmark(monkeypatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # it sets them; so they are put back
    monkeypatch.syspath_prepend(PATH.parent)  # as for a script that is run
    spec = importlib.util.spec_from_file_location("partial_words", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pairs_are_counted_and_their_difference_has_an_interval(benchmark):
    won, lost, both, difference = benchmark.paired([1, 1, 1, 0, 0] * 20, [1, 0, 0, 1, 0] * 20)
    assert (won, lost, both) == (40, 20, 20)
    assert difference.value == pytest.approx(0.2)
    assert difference.low == pytest.approx(0.0509, abs=1e-3)  # 20 / 102 and 1.96 * 0.0741 on either side
    assert difference.high == pytest.approx(0.3413, abs=1e-3)
    same = benchmark.paired([1.0, 0.0] * 50, [1.0, 0.0] * 50)
    assert same[:3] == (0, 0, 50)
    assert same.difference.low < 0 == same.difference.value < same.difference.high


@pytest.mark.parametrize("number", [1, 2, 10, 1000])
def test_cuts_are_different_and_as_many_as_there_may_be(benchmark, number):
    cuts = benchmark.cuts_of(TEXT, number, 0)
    assert len(set(cuts)) == len(cuts)
    assert len(cuts) == number if number <= 10 else 10 < len(cuts) < 40
    for prompt, rest, after in cuts:
        assert (prompt + rest + after).decode() in TEXT
        assert rest.decode().isalpha()
        assert prompt[-1:].isalpha()


def test_one_segmentation_is_the_likeliest_of_eight(benchmark, trained_model):
    from gru_complete.runtime.completer import Completer

    completer = Completer.load(trained_model)
    ways = benchmark.readings(completer, b"The small bi")
    assert tuple(ways) == benchmark.WAYS
    (one,), eight = ways["K = 1"].rows(), ways["K = 8"].rows()
    assert (one.remainder, one.decoder_state.hidden.tolist()) == (
        eight[0].remainder,
        eight[0].decoder_state.hidden.tolist(),
    )
    found = benchmark.measure(completer, benchmark.cuts_of(TEXT, 3, 0))
    assert all(nats <= 0 for values in found.values() for nats in values["nats"])
    assert len(found["K = 1"]["first"]) == 3
