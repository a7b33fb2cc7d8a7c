"""Tasks that need memory: a cell is trained on the spot to repeat later what it read before.

- ``copy`` (Hochreiter and Schmidhuber 1997, as in Arjovsky et al. 2016, arXiv:1511.06464): the cell reads ten symbols
  out of eight kinds, then ``length`` blanks, the last of which is a signal, and must then repeat the ten symbols.
- ``adding`` (Hochreiter and Schmidhuber 1997): the cell reads ``length`` numbers between 0 and 1, two of them marked,
  one in each half, and must give the sum of these two. An answer less than 0.04 off counts as right.
- ``fact``: somebody in the sample world went somewhere on a certain day. After ``length`` more words of that world,
  none of them a day, the cell must name the day.

One layer of the cell reads the sequence; one linear map of its last states gives the answers. The length grows as the
task is learnt (a curriculum: Zaremba and Sutskever 2014, arXiv:1410.4615), up to where the cell can still remember.

Shapes: B rows, T time steps, H hidden_size, N answers of a row.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gru_complete.evaluation.intervals import Interval, share_interval
from gru_complete.nn.cells import CELL_CLASSES
from gru_complete.nn.sequence import run_sequence
from gru_complete.sample_world.writing import generate

NUM_SYMBOLS = 8
NUM_COPIED = 10
ADDING_TOLERANCE = 0.04  # as the authors of the task count
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
EMBEDDING_SIZE = 32
FIRST_LENGTH = 5
GROWTH = 1.3
LEARNT = 0.98  # the share of right answers, over the last updates, at which the length grows
SMOOTHING = 0.9
RATE_DECAY = 0.995  # of the learning rate, per update at the whole length: the last errors come from too large steps
MIN_RATE = 0.05
TEST_ROWS = 512
WORLD_BYTES = 300_000


class Sample(NamedTuple):
    """Some rows of a task, with the right answers.

    Attributes:
        inputs: ids ``(B, T)`` int64, or numbers and their marks ``(B, T, 2)`` float32.
        answers: what the last N steps should give: classes ``(B, N)`` int64, or a number ``(B, 1)`` float32.
    """

    inputs: Tensor
    answers: Tensor


class RecallTask(NamedTuple):
    """A task that needs memory.

    Attributes:
        num_inputs: number of different input ids; 0 if the inputs are numbers.
        num_classes: number of different answers; 1 if the answer is a number.
        chance: the share of right answers without any memory.
        sample: draws rows, given their number, the length and a seed.
    """

    num_inputs: int
    num_classes: int
    chance: float
    sample: Callable[[int, int, int], Sample]


@dataclass(frozen=True)
class RecallStep:
    """One update of a training: ``right`` is the smoothed share of right answers at the current length."""

    update: int
    length: int
    right: float
    seconds: float


@dataclass(frozen=True)
class RecallResult:
    """How well a cell has learnt a task.

    Args:
        right: the share of right answers at the whole length, on rows that were not trained on, with its interval.
        chance: the share of right answers without any memory.
        learnt_length: the greatest length that was learnt; 0 if not even the first one was.
        updates: number of updates made.
        seconds: how long they took.
    """

    right: Interval
    chance: float
    learnt_length: int
    updates: int
    seconds: float

    def to_json(self) -> dict[str, object]:
        """One line of ``recall --json``, without the settings."""
        return {
            "right": list(self.right),
            "chance": self.chance,
            "learnt_length": self.learnt_length,
            "updates": self.updates,
            "seconds": self.seconds,
        }


RecallEvent = RecallStep | RecallResult


def _copy(num_rows: int, length: int, seed: int) -> Sample:
    generator = torch.Generator().manual_seed(seed)
    symbols = torch.randint(NUM_SYMBOLS, (num_rows, NUM_COPIED), generator=generator)
    inputs = torch.full((num_rows, NUM_COPIED + length + NUM_COPIED), NUM_SYMBOLS)
    inputs[:, :NUM_COPIED] = symbols
    inputs[:, NUM_COPIED + length - 1] = NUM_SYMBOLS + 1
    return Sample(inputs, symbols)


def _adding(num_rows: int, length: int, seed: int) -> Sample:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.zeros(num_rows, length, 2)
    inputs[..., 0].uniform_(generator=generator)
    half, rows = length // 2, torch.arange(num_rows)
    first = torch.randint(half, (num_rows,), generator=generator)
    second = torch.randint(half, length, (num_rows,), generator=generator)
    inputs[rows, first, 1] = inputs[rows, second, 1] = 1
    return Sample(inputs, (inputs[rows, first, 0] + inputs[rows, second, 0])[:, None])


def _fact(num_rows: int, length: int, seed: int) -> Sample:
    filler, ids = _sample_world()
    draw = random.Random(seed)
    rows, answers = [], []
    for _ in range(num_rows):
        day = draw.randrange(len(DAYS))
        start = draw.randrange(len(filler) - length)
        fact = [ids[word] for word in ("Mr", "Watson", "went", "on", DAYS[day])]
        rows.append([*fact, *filler[start : start + length], *(ids[word] for word in ("he", "went", "on"))])
        answers.append([day])
    return Sample(torch.tensor(rows), torch.tensor(answers))


@cache
def _sample_world() -> tuple[list[int], dict[str, int]]:
    """A text of the sample world as word ids, without days; and the ids of all words in use."""
    words = [word for word in re.findall(r"\w+", generate(WORLD_BYTES, seed=1)) if word not in DAYS]
    ids = {word: number for number, word in enumerate(sorted({*words, *DAYS, "went"}))}
    return [ids[word] for word in words], ids


def tasks() -> dict[str, RecallTask]:
    """All tasks by their names."""
    # Without memory the best answer is 1, the most likely sum of two uniform numbers: right if the sum is near enough.
    adding_chance = 1 - (1 - ADDING_TOLERANCE) ** 2
    return {
        "copy": RecallTask(NUM_SYMBOLS + 2, NUM_SYMBOLS, 1 / NUM_SYMBOLS, _copy),
        "adding": RecallTask(0, 1, adding_chance, _adding),
        "fact": RecallTask(len(_sample_world()[1]), len(DAYS), 1 / len(DAYS), _fact),
    }


class RecallModel(nn.Module):
    """One layer of a cell, and a linear map of its last states.

    Args:
        task: says what is read and answered.
        cell: a name of ``CELL_CLASSES``.
        hidden_size: H.
        chrono_length: see ``RecurrentCell.reset_parameters``.
    """

    def __init__(self, task: RecallTask, *, cell: str, hidden_size: int, chrono_length: int | None) -> None:
        super().__init__()
        self.embedding = nn.Embedding(task.num_inputs, EMBEDDING_SIZE) if task.num_inputs else None
        self.cell = CELL_CLASSES[cell](EMBEDDING_SIZE if task.num_inputs else 2, hidden_size)
        self.cell.reset_parameters(chrono_length=chrono_length)
        self.head = nn.Linear(hidden_size, task.num_classes)

    def forward(self, inputs: Tensor, num_answers: int) -> Tensor:
        """The answers of the last N steps, ``(B, N, num_classes)``."""
        features = inputs if self.embedding is None else self.embedding(inputs)
        start = features.new_zeros(self.cell.state_rows, len(features), self.cell.hidden_size)
        hidden, _ = run_sequence(self.cell, features, start)
        answers: Tensor = self.head(hidden[:, -num_answers:])
        return answers


class RecallSettings(NamedTuple):
    """What is trained on a task, and how.

    Attributes:
        cell: a name of ``CELL_CLASSES``.
        length: what the length of the task grows to.
        hidden_size: H.
        chrono_length: see ``RecurrentCell.reset_parameters``; None: ordinary biases.
        batch_size: B.
        learning_rate: Adam's.
        seconds: the most time to train.
        seed: of the weights and of all rows.
    """

    cell: str
    length: int
    hidden_size: int = 128
    chrono_length: int | None = None
    batch_size: int = 32
    learning_rate: float = 5e-3
    seconds: float = 180.0
    seed: int = 0


def train_recall(task: RecallTask, settings: RecallSettings) -> Iterator[RecallEvent]:
    """Train a fresh cell on a task until it is learnt at the whole length, or until time is up.

    Args:
        task: one of ``tasks``.
        settings: what is trained, and how.

    Yields:
        A ``RecallStep`` after every update, and the ``RecallResult`` as the last event.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = RecallModel(
            task, cell=settings.cell, hidden_size=settings.hidden_size, chrono_length=settings.chrono_length
        )
    optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate, betas=(0.9, 0.99))
    start, whole_length = time.monotonic(), settings.length
    length, learnt_length, update, right = min(FIRST_LENGTH, whole_length), 0, 0, 0.0
    while time.monotonic() - start < settings.seconds:
        update += 1
        sample = task.sample(settings.batch_size, length, settings.seed + update)
        share = _update(model, optimizer, sample)
        right = SMOOTHING * right + (1 - SMOOTHING) * share
        yield RecallStep(update, length, right, time.monotonic() - start)
        if length == whole_length:
            for group in optimizer.param_groups:
                group["lr"] = max(MIN_RATE * settings.learning_rate, RATE_DECAY * group["lr"])
        if right > LEARNT:
            learnt_length = length
            if length == whole_length and right > 1 - (1 - LEARNT) / 4:
                break
            if length < whole_length:
                length, right = min(whole_length, max(length + 1, int(GROWTH * length))), 0.0
    test = task.sample(TEST_ROWS, whole_length, settings.seed)  # a seed that no update has used
    with torch.no_grad():
        hits = _is_right(model(test.inputs, test.answers.shape[1]), test.answers)
    accuracy = share_interval(int(hits.sum()), hits.numel())
    yield RecallResult(accuracy, task.chance, learnt_length, update, time.monotonic() - start)


def _update(model: RecallModel, optimizer: torch.optim.Optimizer, sample: Sample) -> float:
    """Make one update on some rows; returns the share of answers that were right before it."""
    predictions = model(sample.inputs, sample.answers.shape[1])
    optimizer.zero_grad(set_to_none=True)
    _loss(predictions, sample.answers).backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(_is_right(predictions, sample.answers).float().mean())


def _loss(predictions: Tensor, answers: Tensor) -> Tensor:
    """Mean nats of an answer, or mean squared error of a number."""
    if answers.is_floating_point():
        return F.mse_loss(predictions[..., 0], answers)
    return F.cross_entropy(predictions.flatten(0, 1), answers.flatten())


def _is_right(predictions: Tensor, answers: Tensor) -> Tensor:
    """Which answers are right, ``(B, N)``."""
    if answers.is_floating_point():
        return (predictions[..., 0] - answers).abs() < ADDING_TOLERANCE
    return predictions.argmax(-1) == answers
