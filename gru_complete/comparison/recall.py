"""Tasks that only memory solves: a cell is trained on the spot to say later what it was told before.

- ``copy`` (Hochreiter and Schmidhuber 1997, as in Arjovsky et al. 2016, arXiv:1511.06464): ten symbols of eight, then
  ``length`` blanks, the last of them a signal, then the ten symbols are asked for.
- ``adding`` (Hochreiter and Schmidhuber 1997): ``length`` numbers between 0 and 1, two marked, one in each half; at the
  end their sum is asked for. An answer less than 0.04 off is right.
- ``fact``: somebody of the sample world went somewhere on a certain day; after ``length`` more of its words, none of
  them a day, the day is asked for.

One layer of the cell reads the sequence, one linear map of its last states answers. The length grows as the task is
learnt (a curriculum: Zaremba and Sutskever 2014, arXiv:1410.4615); a cell that cannot hold on stops where it can.

Shapes: A answers of a row, B rows, H hidden_size, T steps.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Generator
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
ADDING_TOLERANCE = 0.04  # what the task's authors count as right
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
EMBEDDING_SIZE = 32
FIRST_LENGTH = 5
GROWTH = 1.3
LEARNT = 0.98  # of the answers, over the last updates, before the length grows
SMOOTHING = 0.9
RATE_DECAY = 0.995  # of the learning rate, at each update at the whole length: the last errors are too large steps
MIN_RATE = 0.05
TEST_ROWS = 512
WORLD_BYTES = 300_000


class Sample(NamedTuple):
    """Rows of a task.

    Attributes:
        inputs: what is read: ids ``(B, T)`` int64, or numbers ``(B, T, 2)`` float32.
        answers: what the last A steps are to say: classes ``(B, A)`` int64, or a number ``(B, 1)`` float32.
    """

    inputs: Tensor
    answers: Tensor


class RecallTask(NamedTuple):
    """What is to be remembered.

    Attributes:
        num_inputs: different ids; 0 where numbers are read.
        num_classes: answers to choose from; 1 where a number is asked for.
        chance: the share of right answers of somebody who remembers nothing.
        sample: draws rows: from how many, the length and a seed.
    """

    num_inputs: int
    num_classes: int
    chance: float
    sample: Callable[[int, int, int], Sample]


@dataclass(frozen=True)
class RecallStep:
    """How far training has come: ``right`` is the share of right answers lately, at the present length."""

    update: int
    length: int
    right: float
    seconds: float


@dataclass(frozen=True)
class RecallResult:
    """What came out.

    Args:
        right: the share of right answers at the whole length, on rows not trained on.
        chance: of somebody who remembers nothing.
        learnt_length: the longest that was learnt on the way; 0 if not even the first.
        updates: how many it took.
        seconds: how long.
    """

    right: Interval
    chance: float
    learnt_length: int
    updates: int
    seconds: float

    def to_json(self) -> dict[str, object]:
        """What stands in ``recall --json``."""
        return {
            "right": list(self.right),
            "chance": self.chance,
            "learnt_length": self.learnt_length,
            "updates": self.updates,
            "seconds": self.seconds,
        }


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
    filler, ids = _world()
    draw = random.Random(seed)
    rows, answers = [], []
    for _ in range(num_rows):
        day = draw.randrange(len(DAYS))
        begin = draw.randrange(len(filler) - length)
        told = [ids[word] for word in ("Mr", "Watson", "went", "on", DAYS[day])]
        rows.append([*told, *filler[begin : begin + length], *(ids[word] for word in ("he", "went", "on"))])
        answers.append([day])
    return Sample(torch.tensor(rows), torch.tensor(answers))


@cache
def _world() -> tuple[list[int], dict[str, int]]:
    """Words of the sample world one after another, days left out, as ids; and the ids of all words in use."""
    words = [word for word in re.findall(r"\w+", generate(WORLD_BYTES, seed=1)) if word not in DAYS]
    ids = {word: number for number, word in enumerate(sorted({*words, *DAYS, "went"}))}
    return [ids[word] for word in words], ids


def tasks() -> dict[str, RecallTask]:
    """All tasks by their names."""
    # To say 1 always, the likeliest sum of two uniform numbers, is right where they come that near to it.
    adding_chance = 1 - (1 - ADDING_TOLERANCE) ** 2
    return {
        "copy": RecallTask(NUM_SYMBOLS + 2, NUM_SYMBOLS, 1 / NUM_SYMBOLS, _copy),
        "adding": RecallTask(0, 1, adding_chance, _adding),
        "fact": RecallTask(len(_world()[1]), len(DAYS), 1 / len(DAYS), _fact),
    }


class RecallModel(nn.Module):
    """One layer of a cell, and what it says of its last states.

    Args:
        task: what is read and asked for.
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
        """What the last steps say, ``(B, A, num_classes)``."""
        features = inputs if self.embedding is None else self.embedding(inputs)
        start = features.new_zeros(self.cell.state_rows, len(features), self.cell.hidden_size)
        hidden, _ = run_sequence(self.cell, features, start)
        answers: Tensor = self.head(hidden[:, -num_answers:])
        return answers


def train_recall(
    task: RecallTask,
    *,
    cell: str,
    length: int,
    hidden_size: int = 128,
    chrono_length: int | None = None,
    batch_size: int = 32,
    learning_rate: float = 5e-3,
    seconds: float = 180.0,
    seed: int = 0,
) -> Generator[RecallStep, None, RecallResult]:
    """Train a fresh cell on a task until it is learnt at the whole length, or for so long.

    Args:
        task: one of ``tasks``.
        cell: a name of ``CELL_CLASSES``.
        length: what the length grows to.
        hidden_size: H.
        chrono_length: spans for which the units are made, see ``RecurrentCell.reset_parameters``; None: as usual.
        batch_size: B.
        learning_rate: Adam's.
        seconds: the most time to train.
        seed: of the weights and of all rows.

    Yields:
        How far it is, after every update.

    Returns:
        What came out.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = RecallModel(task, cell=cell, hidden_size=hidden_size, chrono_length=chrono_length)
    optimizer = torch.optim.Adam(model.parameters(), learning_rate, betas=(0.9, 0.99))
    start = time.monotonic()
    now, learnt_length, update, right = min(FIRST_LENGTH, length), 0, 0, 0.0
    while time.monotonic() - start < seconds:
        update += 1
        sample = task.sample(batch_size, now, seed + update)
        said = model(sample.inputs, sample.answers.shape[1])
        optimizer.zero_grad(set_to_none=True)
        _loss(said, sample.answers).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        share = float(_is_right(said, sample.answers).float().mean())
        right = SMOOTHING * right + (1 - SMOOTHING) * share
        yield RecallStep(update, now, right, time.monotonic() - start)
        if now == length:
            for group in optimizer.param_groups:
                group["lr"] = max(MIN_RATE * learning_rate, RATE_DECAY * group["lr"])
        if right > LEARNT:
            learnt_length = now
            if now == length and right > 1 - (1 - LEARNT) / 4:
                break
            if now < length:
                now, right = min(length, max(now + 1, int(GROWTH * now))), 0.0
    test = task.sample(TEST_ROWS, length, seed)  # with the seed of no update
    with torch.no_grad():
        hits = _is_right(model(test.inputs, test.answers.shape[1]), test.answers)
    return RecallResult(
        share_interval(int(hits.sum()), hits.numel()), task.chance, learnt_length, update, time.monotonic() - start
    )


def _loss(said: Tensor, answers: Tensor) -> Tensor:
    """Mean nats of an answer, or mean squared error of a number."""
    if answers.is_floating_point():
        return F.mse_loss(said[..., 0], answers)
    return F.cross_entropy(said.flatten(0, 1), answers.flatten())


def _is_right(said: Tensor, answers: Tensor) -> Tensor:
    """Which answers are right, ``(B, A)``."""
    if answers.is_floating_point():
        return (said[..., 0] - answers).abs() < ADDING_TOLERANCE
    return said.argmax(-1) == answers
