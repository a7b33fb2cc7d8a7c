"""Microseconds that the counts and the overlay add to each generated token, part by part, beside the GRU's own step.

The tuning split of the model's run directory is read as a document: its first 50 kB, or half of a smaller part, are
learnt by the overlay, the next tokens are timed. A model without counts gets those of its training part and a gate that
believes everything a little. Every part is the median over the tokens, so that a machine that does something else
meanwhile changes it little.

Then whole completions are drawn in turn, without counts, with them, and with the overlay on top.

    OMP_NUM_THREADS=1 python benchmarks/mixture_speed.py MODEL [--tokens 2000]
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from common import parse_arguments

from gru_complete.model.directory import LoadedModel, load_model
from gru_complete.model.run_dir import RunDir
from gru_complete.ngrams.building import count_ngrams
from gru_complete.ngrams.mixture import NUM_OUTPUTS, NUM_SLOPES, MixingWeights, NGramMixture
from gru_complete.ngrams.overlay import Overlay
from gru_complete.runtime.completer import Completer, CompletionStream
from gru_complete.runtime.options import CompletionOptions
from gru_complete.runtime.predictor import Predictor
from gru_complete.runtime.stepper import Stepper
from gru_complete.text.shards import read_shard

LEARNT_BYTES = 50_000
Result = TypeVar("Result")


class Clock:
    """Collects the seconds of the parts, by name."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)

    def time(self, part: str, work: Callable[[], Result]) -> Result:
        """Do a part's work and note what it took."""
        start = time.perf_counter()
        result = work()
        self.seconds[part].append(time.perf_counter() - start)
        return result


def memory_of(model: LoadedModel) -> NGramMixture:
    if model.mixture is not None:
        return model.mixture
    tokens, header = read_shard(RunDir.beside(model.path).part_path("training"))
    vocab_size = model.manifest.arch.vocab_size
    ngrams = count_ngrams(tokens, vocab_size=vocab_size, max_bytes=1_500_000 + 2 * header.num_bytes)
    weights = np.zeros((ngrams.order + NUM_SLOPES, NUM_OUTPUTS), np.float32)
    weights[: ngrams.order, :2] = 0.7, 0.3
    return NGramMixture(ngrams, MixingWeights(weights), adapts=True)


def measure(model: LoadedModel, mixture: NGramMixture, num_tokens: int) -> Clock:
    stream, header = read_shard(RunDir.beside(model.path).part_path("tuning"))
    num_learnt = min(LEARNT_BYTES * header.num_tokens // header.num_bytes, len(stream) // 2)
    tokens = stream[: num_learnt + num_tokens].tolist()
    stepper, ngrams, overlay, clock = Stepper(model.manifest.arch, model.weights), mixture.ngrams, Overlay(), Clock()
    state, nodes = stepper.initial_state(), ngrams.empty_context()
    for token in tokens[:num_learnt]:
        overlay.learn(token)
        nodes = ngrams.advance(nodes, token)
    for token in tokens[num_learnt:]:
        hidden, state = clock.time("GRU: step", lambda: stepper.step(token, state))  # noqa: B023  (called at once)
        logits = clock.time("GRU: logits", lambda: stepper.logits(hidden))  # noqa: B023
        nodes = clock.time("ngrams.advance", lambda: ngrams.advance(nodes, token))  # noqa: B023
        found = clock.time("ngrams.distribution", lambda: ngrams.distribution_and_evidence(nodes))  # noqa: B023
        counted, context = found
        mixed = clock.time("mixture.mix_one", lambda: mixture.mixing.mix_one(logits, counted, context))  # noqa: B023
        clock.time("overlay.learn", lambda: overlay.learn(token))  # noqa: B023
        length, total, _ = context
        clock.time("overlay.adjust", lambda: overlay.adjust(mixed, overlay.recent_tokens(), length, total))  # noqa: B023
    return clock


def whole_tokens(
    model: LoadedModel, mixture: NGramMixture, *, num_tokens: int = 300, rounds: int = 12
) -> dict[str, float]:
    """Seconds for each token of a completion, medians over the rounds."""
    text = model.tokenizer.decode(read_shard(RunDir.beside(model.path).part_path("tuning"))[0].tolist()[1:])
    stepper = Stepper(model.manifest.arch, model.weights)
    completers = {
        "without counts": Completer(Predictor(stepper), model.tokenizer, adapts=False),
        "with counts": Completer(Predictor(stepper, mixture), model.tokenizer, adapts=False),
        "with counts and overlay": Completer(Predictor(stepper, mixture), model.tokenizer, adapts=True),
    }
    starts = {}
    for name, completer in completers.items():
        context = completer.read(text[: min(LEARNT_BYTES, len(text) // 2)])
        starts[name] = (completer, context, completer.first_tokens(context))
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for seed in range(rounds):
        for name, (completer, context, first_tokens) in starts.items():
            options = CompletionOptions(max_tokens=num_tokens, until="none", seed=seed)
            stream = CompletionStream(completer, context, first_tokens, options)
            start = time.perf_counter()
            for _ in stream:
                pass
            assert stream.result is not None
            seconds[name].append((time.perf_counter() - start) / stream.result.tokens)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=2000)
    options = parse_arguments(parser, smoke="{dir}/model --tokens 50")
    model = load_model(options.model)
    mixture = memory_of(model)
    clock = measure(model, mixture, options.tokens)
    parts = [seconds for part, seconds in clock.seconds.items() if not part.startswith("GRU")]
    added = [sum(values) for values in zip(*parts, strict=True)]
    print(f"{'part':22}{'median':>8}{'mean':>8}  microseconds, V={model.manifest.arch.vocab_size}")
    for part, seconds in clock.seconds.items():
        print(f"{part:22}{1e6 * statistics.median(seconds):8.1f}{1e6 * statistics.mean(seconds):8.1f}")
    print(f"{'added to the GRU':22}{1e6 * statistics.median(added):8.1f}{1e6 * statistics.mean(added):8.1f}")
    print("\nwhole tokens")
    for name, value in whole_tokens(model, mixture).items():
        print(f"{name:24}{1e6 * value:6.1f}")


if __name__ == "__main__":
    main()
