"""Repeat the training of a model on the same text with canaries in it, in a directory of its own.

Everything else is the same: the rest of the text, the tokenizer, the tuning split (the validation split), all settings,
the seed and the number of steps. Neither the model nor its run directory is touched.

Shapes: N tokens of a split.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gru_complete.arrays import TokenIds
from gru_complete.config import Config
from gru_complete.errors import ModelError, UsageError, printable
from gru_complete.evaluation.canaries import NUM_DIGITS, Canary, CanaryReport, rank_canary
from gru_complete.evaluation.progress import Progress
from gru_complete.model.corpus_words import run_dir_with_text
from gru_complete.model.directory import LoadedModel, load_model
from gru_complete.model.run_dir import RunDir
from gru_complete.runtime.predictor import Predictor
from gru_complete.runtime.stepper import Stepper
from gru_complete.storage import atomic
from gru_complete.text.shards import documents, write_shard
from gru_complete.text.tokenizer import DOCUMENT_END, Tokenizer
from gru_complete.training import events
from gru_complete.training.base import original_base
from gru_complete.training.batches import derived_seed
from gru_complete.training.plan import read_plan
from gru_complete.training.run import TrainingRequest, run_training
from gru_complete.training.tokenized_corpus import spooled

TIMES = (0, 1, 2, 4, 8, 16, 32)
"""How many copies of a canary are planted; canaries with 0 copies are the control group."""
CANARIES_EACH = 3
"""How many canaries there are for each of ``TIMES``."""
NUM_CANARIES = len(TIMES) * CANARIES_EACH
_SYLLABLES_EACH = 3
_SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
_BLOCK_TOKENS = 1 << 16


def make_canaries(documents: Sequence[bytes], seed: int) -> list[Canary]:
    """Draw ``CANARIES_EACH`` canaries for each of ``TIMES``, with names that are not in the text.

    Args:
        documents: the text.
        seed: determines names and numbers.
    """
    rng = random.Random(seed)
    numbers = rng.sample(range(10**NUM_DIGITS), NUM_CANARIES)
    names: list[str] = []
    while not names or any(name.encode() in document for name in names for document in documents):
        drawn = rng.sample(_SYLLABLES, _SYLLABLES_EACH * NUM_CANARIES)
        names = ["".join(drawn[index::NUM_CANARIES]).capitalize() for index in range(NUM_CANARIES)]
    times = [number for number in TIMES for _ in range(CANARIES_EACH)]
    return [
        Canary(name, f"{number:0{NUM_DIGITS}}", how_often)
        for name, number, how_often in zip(names, numbers, times, strict=True)
    ]


def plant_canaries(documents: Sequence[bytes], canaries: Sequence[Canary], seed: int) -> list[bytes]:
    """Insert the copies of each canary at even distances, each as a line of its own before a line of the text.

    In a text with few lines, several canaries go before the same line. Nothing else in the text changes.

    Args:
        documents: the text.
        canaries: what to plant.
        seed: determines the place of each canary's first copy.
    """
    rng = random.Random(seed)
    total = sum(map(len, documents))
    places = []
    for canary in canaries:
        offset = rng.random()
        places += [((index + offset) / canary.times * total, canary.line) for index in range(canary.times)]
    places.sort()
    planted = []
    begin, num_planted = 0, 0
    for index, document in enumerate(documents):
        end = begin + len(document)
        line_starts = np.concatenate(([0], np.flatnonzero(np.frombuffer(document, np.uint8) == ord("\n")) + 1))
        parts, copied = [], 0
        while num_planted < len(places) and (places[num_planted][0] < end or index == len(documents) - 1):
            place, line = places[num_planted]
            line_start = int(line_starts[line_starts.searchsorted(place - begin, "right") - 1])
            parts += [document[copied:line_start], line]
            copied = line_start
            num_planted += 1
        planted.append(b"".join([*parts, document[copied:]]))
        begin = end
    return planted


class OriginalTraining(NamedTuple):
    """How a model was trained, and on what.

    Attributes:
        config: all settings, every one resolved.
        tokenizer: the model's tokenizer.
        training: token ids of the training split, ``(N,)``.
        tuning: token ids of the tuning split, ``(N,)``.
    """

    config: Config
    tokenizer: Tokenizer
    training: TokenIds
    tuning: TokenIds


def find_training(model: LoadedModel, *, device: str) -> OriginalTraining:
    """Read from its run directory how a model was trained.

    Args:
        model: the model.
        device: where to repeat the training: auto, cpu or cuda.

    Raises:
        UsageError: there is no run directory, or the model that the training started from has gone.
        ModelError: the run directory is damaged or belongs to another training.
    """
    run_dir = run_dir_with_text(model.path)
    plan = read_plan(run_dir)
    if model.manifest.run_id != plan.run_id:
        raise run_dir.other_training()
    steps = model.manifest.steps
    if steps is None:
        raise ModelError(f"{printable(model.path.name)} does not say how many steps it was trained for")
    # The run directory holds the text after redaction.
    config = plan.config.model_copy(
        update={
            "data": plan.config.data.model_copy(update={"redact": False}),
            "training": plan.config.training.model_copy(update={"steps": steps, "device": device}),
        }
    )
    if model.manifest.base is not None and original_base(model) is None:
        message = f"the model that {printable(model.path.name)} started from has been replaced or removed"
        raise UsageError(message, hint="keep that one, and give the new one a name of its own with -m")
    training, _ = run_dir.read_part("training", model.tokenizer)
    tuning, _ = run_dir.read_part("tuning", model.tokenizer)
    return OriginalTraining(config, model.tokenizer, training, tuning)


@dataclasses.dataclass(frozen=True)
class CanaryModel:
    """A model that was trained on a text with canaries, and the canaries."""

    model: LoadedModel
    canaries: Sequence[Canary]


def train_with_canaries(
    original: OriginalTraining, directory: Path
) -> Generator[events.Event | CanaryModel, None, None]:
    """Train a model on the same text with canaries in it.

    Args:
        original: the training to repeat.
        directory: an empty directory, for everything that is written.

    Yields:
        The events of the training, and the ``CanaryModel`` last.

    Raises:
        EnvironmentFailure: a file could not be written.
        DivergedError: the training diverged.
    """
    yield events.Working("planting")
    seed = original.config.training.seed
    texts = [b"".join(blocks) for blocks in _decode_documents(original.training, original.tokenizer)]
    canaries = make_canaries(texts, derived_seed(seed, "canaries"))
    texts = plant_canaries(texts, canaries, derived_seed(seed, "places of canaries"))
    source = directory / "text.txt"
    with atomic.open_stream(source) as stream:
        stream.writelines(texts)
    request = TrainingRequest(
        [str(source)],
        directory / "model",
        original.config,
        replace=False,
        started=time.monotonic(),
        tokenized_dir=_tokenize(original, texts, source, directory),
        is_remembered=False,
    )
    yield from run_training(request, stop_signal=lambda: None)
    yield CanaryModel(load_model(directory / "model"), canaries)


def _tokenize(original: OriginalTraining, texts: Sequence[bytes], source: Path, directory: Path) -> RunDir:
    """Write the tokens that the new training starts from: the text with canaries, and the old tuning split.

    Training on these rather than on the text keeps the tokenizer and the split.

    Args:
        original: the training to repeat.
        texts: the documents with canaries.
        source: the file that holds them.
        directory: where to write.
    """
    tokenized = RunDir(directory / "text")
    atomic.make_directory(tokenized.path)
    with spooled([str(source)], directory, original.config.data, stdin=None) as (_, spool):
        sha256 = spool.report.sha256
    atomic.write_file(tokenized.tokenizer_path, original.tokenizer.model_bytes)
    atomic.write_file(tokenized.text_facts_path, b"{}")
    blocks = ([text] for text in texts)
    write_shard(tokenized.part_path("training"), blocks, original.tokenizer, corpus_sha256=sha256)
    tuning = _decode_documents(original.tuning, original.tokenizer)
    write_shard(tokenized.part_path("tuning"), tuning, original.tokenizer, corpus_sha256=sha256)
    return tokenized


def _decode_documents(stream: TokenIds, tokenizer: Tokenizer) -> Iterator[Iterator[bytes]]:
    """Decode the documents of a stream, each in blocks."""
    for document in documents(stream):
        inner = document[1 : len(document) - int(document[-1] == DOCUMENT_END)]
        starts = range(0, len(inner), _BLOCK_TOKENS)
        yield (tokenizer.decode(inner[start : start + _BLOCK_TOKENS].tolist()) for start in starts)


def rank_canaries(trained: CanaryModel, *, progress: Progress | None = None) -> CanaryReport:
    """Rank every canary, under the whole model and under its network alone.

    Args:
        trained: the model and the canaries in its text.
        progress: called with 1 for each canary, of ``NUM_CANARIES``.

    Raises:
        ModelError: the tokenizer does not cut numbers into digits.
    """
    model = trained.model
    stepper = Stepper(model.manifest.arch, model.weights)
    predictors = (
        [Predictor(stepper)] if model.mixture is None else [Predictor(stepper, model.mixture), Predictor(stepper)]
    )
    ranks = []
    for canary in trained.canaries:
        ranks.append(rank_canary(canary, model.tokenizer, predictors))
        if progress is not None:
            progress(1)
    steps = model.manifest.steps
    assert steps is not None  # the training that planted the canaries wrote the manifest
    return CanaryReport.from_ranks(steps, trained.canaries, ranks)
