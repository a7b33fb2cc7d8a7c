import numpy as np
import pytest
import torch

from gru_complete.config import load_config
from gru_complete.errors import (
    InterruptedRun,
)
from gru_complete.evaluation.report import network_from_model
from gru_complete.model.directory import load_model
from gru_complete.text.shards import documents, read_shard
from gru_complete.training.scoring import score_tokens
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


@pytest.mark.parametrize("adapt", [True, False])
def test_held_out_text_is_scored_as_completions_read_it(request_for, tiny_overrides, tmp_path, adapt):
    config = load_config(None, [*tiny_overrides, f"ngrams.adapt={str(adapt).lower()}"])
    metrics = train(request_for(config=config))[-1].metrics
    model = load_model(tmp_path / "model")
    stream, header = read_shard(tmp_path / "model.run" / "held_out.tokens")
    network = network_from_model(model, torch.device("cpu"))

    def bits(adapted):
        scores = score_tokens(network, documents(np.asarray(stream)), mixture=model.mixture, adapted=adapted)
        return scores.total_nats / np.log(2) / header.num_bytes

    assert metrics["held_out_bits_per_byte"] == pytest.approx(bits(False), rel=1e-6)
    if adapt:
        assert metrics["held_out_adapted_bits_per_byte"] == pytest.approx(bits(True), rel=1e-6)
        assert metrics["held_out_adapted_bits_per_byte"] != metrics["held_out_bits_per_byte"]
        assert model.manifest.bits_per_byte == metrics["held_out_adapted_bits_per_byte"]
    else:
        assert "held_out_adapted_bits_per_byte" not in metrics
        assert model.manifest.bits_per_byte == metrics["held_out_bits_per_byte"]


def test_an_interrupted_training_does_not_call_the_measure(request_for):
    with pytest.raises(InterruptedRun):
        train(request_for(measure=lambda model, texts: pytest.fail("measured")), stop_after=7)


def test_no_file_of_a_model_holds_a_path_or_a_name(request_for, tmp_path):
    train(request_for())
    for path in (tmp_path / "model").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()
        assert b"corpus.txt" not in path.read_bytes()
