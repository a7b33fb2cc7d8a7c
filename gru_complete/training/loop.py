"""The training loop: a generator of events.

What a step reads and drops out is a function of the step and of the plan. So is its learning rate if the plan has a
number of steps; with minutes it depends on the clock (``pace.py``).
"""

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gru_complete.arrays import TokenIds
from gru_complete.errors import DivergedError, EnvironmentFailure, ModelError
from gru_complete.text.tokenizer import DOCUMENT_END
from gru_complete.training.batches import Batches, derived_seed
from gru_complete.training.checkpoint import CheckpointStore, LoopState
from gru_complete.training.events import Evaluated, Event, Note, Replanned, RolledBack, Stepped
from gru_complete.training.learner import Learner, Update
from gru_complete.training.pace import Pace
from gru_complete.training.plan import Plan
from gru_complete.training.schedule import learning_rate
from gru_complete.training.scoring import score_tokens

MIN_RATE_SCALE = 1 / 32
TUNING_ROWS = 16
TOLD_CHANGE, TOLD_FROM = 0.25, 0.02  # of the number of steps: smaller changes, and the first steps, say nothing


class TuningScore(NamedTuple):
    """What the tuning split costs: nats per token, and bits per byte."""

    loss: float
    bits_per_byte: float


@dataclass(frozen=True)
class TuningSplit:
    """The tuning split (the validation split), which chooses the checkpoint and the stop.

    It is folded into rows that are read side by side, so that an evaluation is fast.

    Args:
        rows: token ids, each row beginning with the document end.
        num_bytes: UTF-8 bytes of the whole split.
    """

    rows: Sequence[npt.NDArray[np.int64]]
    num_bytes: int

    @classmethod
    def fold(cls, stream: TokenIds, *, num_bytes: int) -> "TuningSplit":
        """Cut the stream into ``TUNING_ROWS`` equal rows, fewer if they would be shorter than 64 tokens."""
        num_rows = max(1, min(TUNING_ROWS, len(stream) // 64))
        pieces = np.array_split(np.asarray(stream[1:], dtype=np.int64), num_rows)
        return cls([np.concatenate(([DOCUMENT_END], piece)) for piece in pieces], num_bytes)

    def score(self, learner: Learner) -> TuningScore:
        """Score the split under the learner's model."""
        scores = score_tokens(learner.model, self.rows, device=learner.device)
        bits = scores.total_nats / math.log(2) / self.num_bytes
        return TuningScore(scores.total_nats / scores.num_tokens, bits)


@dataclass(frozen=True)
class TrainingLoop:
    """Runs a plan from its newest checkpoint.

    Args:
        plan: what to do.
        pace: how far each step goes.
        learner: the model with its optimizer, as the newest checkpoint left them.
        batches: what each step reads.
        tuning: the text that chooses the checkpoint and the stop.
        store: where checkpoints go; when ``run`` returns, the newest one is the last step that could be saved.
        facts: what the manifest of a checkpoint says about the training so far.
    """

    plan: Plan
    pace: Pace
    learner: Learner
    batches: Batches
    tuning: TuningSplit
    store: CheckpointStore
    facts: Callable[[LoopState], dict[str, Any]]

    def run(self, loop: LoopState, state: Tensor | None, *, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """Run to the last step, or until stopped.

        Args:
            loop: the state of the loop in the newest checkpoint.
            state: the recurrent state of the rows there, ``(L, S, B, H)``; None at the start.
            should_stop: called after every step.

        Yields:
            Every step, evaluation, note and change of plan.

        Raises:
            DivergedError: the numbers stopped being finite and lower learning rates did not help.
            EnvironmentFailure: the last checkpoint could not be written (if an earlier one fails, a note says so).
        """
        if loop.max_steps == 0:
            loop = replace(loop, max_steps=self.plan.max_steps)
            self.store.save(self.learner, None, loop, training_facts=self.facts(loop))
        patience = self.plan.config.training.patience
        told_steps = loop.max_steps
        mark = time.monotonic()
        while not loop.is_complete and loop.evaluations_since_best < patience:
            # 1. Update the weights, unless the loss or the gradient is not finite.
            before, progress = loop, self.pace.next_progress(loop)
            step, rate = loop.step + 1, self._learning_rate(loop, progress)
            update = self._update(step, state, rate)
            if not update.is_finite:
                loop, state = self._roll_back(loop)
                yield RolledBack(step, loop.step, loop.rate_scale)
                continue
            state = update.state
            loop = loop.after_update(update.loss, progress)
            now = time.monotonic()
            loop = replace(loop, step_seconds=loop.step_seconds + self.pace.seconds_counted(now - mark))
            loop = replace(loop, max_steps=self.pace.estimated_steps(loop))
            mark = now
            assert loop.train_loss is not None
            yield Stepped(step, loop.max_steps, loop.train_loss, rate, self.batches.tokens_per_step)

            if abs(loop.max_steps - told_steps) > TOLD_CHANGE * told_steps and TOLD_FROM < progress < 1.0:
                told_steps = loop.max_steps
                yield Replanned(step, told_steps)

            # 2. Evaluate and save now and then.
            is_stopping = should_stop()
            if is_stopping or self.pace.is_evaluation_due(before, loop):
                loop, state = yield from self._evaluate_and_save(before, loop, state)
                mark = time.monotonic()
            if is_stopping:
                return

    def _evaluate_and_save(
        self, before: LoopState, loop: LoopState, state: Tensor | None
    ) -> Generator[Event, None, tuple[LoopState, Tensor | None]]:
        """Score the tuning split if that is due after the step that led from ``before`` to ``loop``, and save.

        An evaluation counts only once its checkpoint is saved: nothing that cannot be returned to may be the best.

        Returns:
            The loop's and the recurrent state: those of an earlier checkpoint if the score was not finite.
        """
        start, step = time.monotonic(), loop.step
        score = self.tuning.score(self.learner) if self.pace.is_evaluation_due(before, loop) else None
        if score is not None and not math.isfinite(score.loss):
            loop, state = self._roll_back(loop)
            yield RolledBack(step, loop.step, loop.rate_scale)
            return loop, state
        candidate = loop if score is None else loop.after_evaluation(score.loss)
        checkpoint, problem = self._try_to_save(state, candidate, must_succeed=loop.is_complete)
        if problem is None:
            loop = candidate
        else:
            yield Note(problem)
        if score is not None:
            seconds = time.monotonic() - start
            self.pace.note_evaluation(seconds)
            loop = replace(loop, step_seconds=loop.step_seconds + seconds)
            yield Evaluated(step, score.bits_per_byte, candidate.best_step == step, checkpoint, loop.step_seconds)
        return loop, state

    def _learning_rate(self, loop: LoopState, progress: float) -> float:
        training, max_steps = self.plan.config.training, self.plan.max_steps
        assert training.learning_rate is not None  # the plan has filled it in
        position = loop.step + 1 if self.plan.budget_seconds is None else progress * max_steps
        return loop.rate_scale * learning_rate(
            position,
            max_steps=max_steps,
            peak=training.learning_rate,
            warmup=training.warmup,
            decay=training.decay,
        )

    def _update(self, step: int, state: Tensor | None, learning_rate: float) -> Update:
        tokens, targets = self.batches.chunk(step)
        seed = derived_seed(self.plan.config.training.seed, "dropout", step)
        return self.learner.update(tokens, targets, state, learning_rate=learning_rate, dropout_seed=seed)

    def _try_to_save(
        self, state: Tensor | None, loop: LoopState, *, must_succeed: bool
    ) -> tuple[Path | None, str | None]:
        """Write a checkpoint; returns its path, or what went wrong unless that ends the training."""
        try:
            return self.store.save(self.learner, state, loop, training_facts=self.facts(loop)), None
        except (EnvironmentFailure, ModelError) as error:  # ModelError: the last update made weights infinite
            if must_succeed:
                raise
            newest = self.store.steps()[-1]
            return None, f"step {loop.step} was not saved: {error}; the last good checkpoint is that of step {newest}"

    def _roll_back(self, loop: LoopState) -> tuple[LoopState, Tensor | None]:
        """Load the newest checkpoint and halve the learning rate; returns the loop's and the recurrent state."""
        rate_scale = loop.rate_scale / 2
        good, state, _ = self.store.load_newest(self.learner)
        if rate_scale < MIN_RATE_SCALE:
            message = f"training diverged at step {loop.step + 1}: the loss is not finite"
            hint = f"the checkpoint of step {good.step} is good; try --set training.learning_rate=1e-3 --replace"
            raise DivergedError(message, hint=hint)
        return replace(good, rate_scale=rate_scale, step_seconds=loop.step_seconds), state
