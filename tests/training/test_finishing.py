import pytest

from gru_complete.errors import (
    InterruptedRun,
)
from gru_complete.model.directory import load_model
from gru_complete.text.shards import read_shard
from tests.training.runs import train


def test_the_callers_measure_gets_a_model_whose_counts_have_not_seen_the_tuning_split(request_for, tmp_path):
    seen = []

    def measure(model, texts):
        seen.append((model, texts))
        return {"something": 0.5}

    events_seen = train(request_for(measure=measure))
    ((model, texts),) = seen
    finished = load_model(tmp_path / "model")
    assert (finished.manifest.metrics["something"], events_seen[-1].metrics["something"]) == (0.5, 0.5)
    assert model.manifest.arch == finished.manifest.arch
    assert {name: array.tolist() for name, array in model.weights.items()} == {
        name: array.tolist() for name, array in finished.weights.items()
    }
    assert model.mixture.ngrams.num_bytes < finished.mixture.ngrams.num_bytes
    tuning, _ = read_shard(tmp_path / "model.run" / "tuning.tokens")
    assert texts == [model.tokenizer.decode(tuning.tolist()).decode().rpartition(" ")[0]]
    assert texts[0]


def test_an_interrupted_training_does_not_call_the_measure(request_for):
    with pytest.raises(InterruptedRun):
        train(request_for(measure=lambda model, texts: pytest.fail("measured")), stop_after=7)


def test_no_file_of_a_model_holds_a_path_or_a_name(request_for, tmp_path):
    train(request_for())
    for path in (tmp_path / "model").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()
        assert b"corpus.txt" not in path.read_bytes()
