"""A training like that of a model, on the same text with canaries in it, in a directory of its own.

What is the same: the text but for the canaries, the tokenizer, the tuning part, all settings, the seed and the number
of steps. Neither the model nor its run directory is touched.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gru_complete.arrays import TokenIds
from gru_complete.config import Config
from gru_complete.errors import ModelError, UsageError, printable
from gru_complete.evaluation.canaries import NUM_DIGITS, Canary, CanaryReport, rank_canary
from gru_complete.model.corpus_words import run_dir_with_text
from gru_complete.model.directory import LoadedModel, load_model
from gru_complete.model.run_dir import RunDir
from gru_complete.runtime.predictor import Predictor
from gru_complete.runtime.stepper import Stepper
from gru_complete.storage import atomic
from gru_complete.text.shards import documents, write_shard
from gru_complete.text.tokenizer import DOCUMENT_END, Tokenizer
from gru_complete.training import events
from gru_complete.training.batches import derived_seed
from gru_complete.training.plan import read_plan
from gru_complete.training.run import TrainingRequest, run_training
from gru_complete.training.tokenized_corpus import spooled

TIMES = (0, 1, 2, 4, 8, 16, 32)
"""How often canaries are planted; those of the first, the control, are not."""
CANARIES_EACH = 3
NUM_CANARIES = len(TIMES) * CANARIES_EACH
_SYLLABLES_EACH = 3
_SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
_BLOCK_TOKENS = 1 << 16


def make_canaries(documents: Sequence[bytes], seed: int) -> list[Canary]:
    """Draw ``CANARIES_EACH`` canaries for each of ``TIMES``, with names that the text does not know.

    Args:
        documents: the text.
        seed: of names and numbers.
    """
    chance = random.Random(seed)
    numbers = chance.sample(range(10**NUM_DIGITS), NUM_CANARIES)
    names: list[str] = []
    while not names or any(name.encode() in document for name in names for document in documents):
        drawn = chance.sample(_SYLLABLES, _SYLLABLES_EACH * NUM_CANARIES)
        names = ["".join(drawn[index::NUM_CANARIES]).capitalize() for index in range(NUM_CANARIES)]
    times = [number for number in TIMES for _ in range(CANARIES_EACH)]
    return [
        Canary(name, f"{number:0{NUM_DIGITS}}", how_often)
        for name, number, how_often in zip(names, numbers, times, strict=True)
    ]


def plant_canaries(documents: Sequence[bytes], canaries: Sequence[Canary], seed: int) -> list[bytes]:
    """Put each canary into a text, evenly spread, as lines of their own before lines of the text.

    Where the text has few lines, several stand in the same place. Nothing else of the text changes.

    Args:
        documents: the text.
        canaries: what to plant.
        seed: of where the first of each stands.
    """
    chance = random.Random(seed)
    total = sum(map(len, documents))
    places = []
    for canary in canaries:
        offset = chance.random()
        places += [((index + offset) / canary.times * total, canary.line) for index in range(canary.times)]
    places.sort()
    planted = []
    begin, done = 0, 0
    for index, document in enumerate(documents):
        end = begin + len(document)
        lines = np.concatenate(([0], np.flatnonzero(np.frombuffer(document, np.uint8) == ord("\n")) + 1))
        parts, taken = [], 0
        while done < len(places) and (places[done][0] < end or index == len(documents) - 1):
            line_begin = int(lines[lines.searchsorted(places[done][0] - begin, "right") - 1])
            parts += [document[taken:line_begin], places[done][1]]
            taken = line_begin
            done += 1
        planted.append(b"".join([*parts, document[taken:]]))
        begin = end
    return planted


class OriginalTraining(NamedTuple):
    """How a model was trained, and on what.

    Attributes:
        config: all settings, none of them open.
        tokenizer: the model's.
        training: token ids of the training part, ``(N,)``.
        tuning: of the tuning part.
    """

    config: Config
    tokenizer: Tokenizer
    training: TokenIds
    tuning: TokenIds


def find_training(model: LoadedModel, *, device: str) -> OriginalTraining:
    """How a model was trained, from its run directory; a training like it runs on ``device``, as in the config.

    Raises:
        UsageError: the model is an adapted one, or there is no run directory.
        ModelError: it is damaged, or another training's.
    """
    if model.manifest.base is not None:
        message = f"{printable(model.path.name)} was adapted, and its text was not kept"
        raise UsageError(message, hint=f"ask the model that it was made from, '{model.manifest.base.name}'")
    run_dir = run_dir_with_text(model.path)
    plan = read_plan(run_dir)
    facts = model.manifest.training
    if facts.get("run_id") != plan.run_id:
        raise run_dir.other_training()
    steps = facts.get("steps")
    if type(steps) is not int or steps < 1:
        raise ModelError(f"{printable(model.path.name)} does not say how many steps it was trained for")
    # The text is as that training saw it: what it was to redact is redacted.
    config = plan.config.model_copy(
        update={
            "data": plan.config.data.model_copy(update={"redact": False}),
            "training": plan.config.training.model_copy(update={"steps": steps, "device": device}),
        }
    )
    training, _ = run_dir.read_part("training", model.tokenizer)
    tuning, _ = run_dir.read_part("tuning", model.tokenizer)
    return OriginalTraining(config, model.tokenizer, training, tuning)


@dataclasses.dataclass(frozen=True)
class CanaryModel:
    """The training with canaries is over."""

    model: LoadedModel
    canaries: Sequence[Canary]


def train_with_canaries(known: OriginalTraining, directory: Path) -> Generator[events.Event | CanaryModel, None, None]:
    """Train a model on the same text with canaries in it.

    Args:
        known: the training to do again.
        directory: an empty one; all that is written goes there.

    Yields:
        What training tells, and ``CanaryModel`` at last.

    Raises:
        EnvironmentFailure, DivergedError: as their names say.
    """
    yield events.Working("planting")
    seed = known.config.training.seed
    texts = [b"".join(blocks) for blocks in _texts(known.training, known.tokenizer)]
    canaries = make_canaries(texts, derived_seed(seed, "canaries"))
    texts = plant_canaries(texts, canaries, derived_seed(seed, "places of canaries"))
    source, prepared = directory / "text.txt", RunDir(directory / "text")
    atomic.make_directory(prepared.path)
    with atomic.open_stream(source) as stream:
        stream.writelines(texts)
    with spooled([str(source)], directory, known.config.data, stdin=None) as (_, spool):
        sha256 = spool.report.sha256
    atomic.write_file(prepared.tokenizer_path, known.tokenizer.model_bytes)
    atomic.write_file(prepared.text_facts_path, b"{}")
    blocks = ([text] for text in texts)
    write_shard(prepared.part_path("training"), blocks, known.tokenizer, corpus_sha256=sha256)
    tuning = _texts(known.tuning, known.tokenizer)
    write_shard(prepared.part_path("tuning"), tuning, known.tokenizer, corpus_sha256=sha256)
    request = TrainingRequest(
        [str(source)],
        directory / "model",
        known.config,
        replace=False,
        started=time.monotonic(),
        tokenized_dir=prepared,
        is_remembered=False,
    )
    yield from run_training(request, stop_signal=lambda: None)
    yield CanaryModel(load_model(directory / "model"), canaries)


def _texts(stream: TokenIds, tokenizer: Tokenizer) -> Iterator[Iterator[bytes]]:
    """The documents of a stream, each in blocks."""
    for document in documents(stream):
        inner = document[1 : len(document) - int(document[-1] == DOCUMENT_END)]
        starts = range(0, len(inner), _BLOCK_TOKENS)
        yield (tokenizer.decode(inner[start : start + _BLOCK_TOKENS].tolist()) for start in starts)


def rank_canaries(planted: CanaryModel, *, progress: Callable[[int], object] | None = None) -> CanaryReport:
    """Rank every canary, under the whole model and under its network alone.

    Args:
        planted: the model, and what was planted.
        progress: is told 1 for each canary, of ``NUM_CANARIES``.

    Raises:
        ModelError: the tokenizer does not cut numbers into digits.
    """
    model = planted.model
    stepper = Stepper(model.manifest.arch, model.weights)
    predictors = (
        [Predictor(stepper)] if model.mixture is None else [Predictor(stepper, model.mixture), Predictor(stepper)]
    )
    ranks = []
    for canary in planted.canaries:
        ranks.append(rank_canary(canary, model.tokenizer, predictors))
        if progress is not None:
            progress(1)
    return CanaryReport.from_ranks(int(model.manifest.training["steps"]), planted.canaries, ranks)
