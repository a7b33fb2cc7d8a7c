"""The training loop: a generator of events, each a function of the step and of what the plan says.

The only exception is time: where the machine proves slower or quicker than probed, ``max_steps`` is changed once, and
the change is in the checkpoint written at that step.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gru_complete.arrays import TokenIds
from gru_complete.errors import DivergedError, EnvironmentFailure, ModelError
from gru_complete.text.tokenizer import DOCUMENT_END
from gru_complete.training.batches import Batches, derived_seed
from gru_complete.training.checkpoint import CheckpointStore, LoopState
from gru_complete.training.events import Evaluated, Event, Note, Replanned, RolledBack, Stepped
from gru_complete.training.learner import Learner
from gru_complete.training.plan import Plan, max_useful_steps
from gru_complete.training.schedule import one_cycle
from gru_complete.training.scoring import score_tokens

SMOOTHING = 0.98
REPLAN_AT = 0.25  # of the steps: early enough to make up for it, late enough to know
REPLAN_TOLERANCE = 0.05
MIN_RATE_SCALE = 1 / 32
TUNING_ROWS = 16
MAX_STEP_SECONDS = 10.0  # much longer than planned: the machine slept, which does not count as time


@dataclass(frozen=True)
class TuningSplit:
    """The text that chooses the checkpoint and the stop, folded into rows so that a look is quick.

    Args:
        rows: token ids, each row beginning with the document end.
        num_bytes: UTF-8 bytes of the whole part.
    """

    rows: Sequence[npt.NDArray[np.int64]]
    num_bytes: int

    @classmethod
    def fold(cls, stream: TokenIds, *, num_bytes: int) -> "TuningSplit":
        """Cut the stream into ``TUNING_ROWS`` equal rows, fewer where they would be shorter than 64 tokens."""
        num_rows = max(1, min(TUNING_ROWS, len(stream) // 64))
        pieces = np.array_split(np.asarray(stream[1:], dtype=np.int64), num_rows)
        return cls([np.concatenate(([DOCUMENT_END], piece)) for piece in pieces], num_bytes)

    def score(self, learner: Learner) -> tuple[float, float]:
        """Nats per token and bits per byte under the learner's model."""
        scores = score_tokens(learner.model, self.rows, device=learner.device)
        return scores.total_nats / scores.num_tokens, scores.total_nats / math.log(2) / self.num_bytes


def steps(
    plan: Plan,
    learner: Learner,
    batches: Batches,
    tuning: TuningSplit,
    store: CheckpointStore,
    loop: LoopState,
    state: Tensor | None,
    *,
    should_stop: Callable[[], bool],
    facts: Callable[[LoopState], dict[str, str | int | float | bool | None]],
) -> Iterator[Event]:
    """Run the plan from its newest checkpoint to its last step, or until it is stopped.

    Args:
        plan: what to do.
        learner: the model with its optimizer, as the newest checkpoint left them.
        batches: what each step reads.
        tuning: what chooses.
        store: where checkpoints go; on return its newest holds the last step that could be saved.
        loop: where the loop stands.
        state: where the rows stand, ``(L, S, B, H)``; None at the start.
        should_stop: asked after every step.
        facts: what the manifest of a checkpoint says about the training so far.

    Yields:
        Every step, look, note and change of plan.

    Raises:
        DivergedError: the numbers stopped being finite and lower learning rates did not help.
        EnvironmentFailure: the last checkpoint could not be written (earlier ones that fail are noted only).
    """
    training = plan.config.training
    if loop.max_steps == 0:
        loop = replace(loop, max_steps=plan.max_steps)
        store.save(learner, None, loop, training_facts=facts(loop))
    replan_step = math.ceil(REPLAN_AT * plan.max_steps)
    longest_step = MAX_STEP_SECONDS
    if plan.budget_seconds is not None:
        longest_step = max(longest_step, 10 * plan.budget_seconds / plan.max_steps)
    mark = time.monotonic()
    while loop.step < loop.max_steps and loop.looks_since_best < training.patience:
        step = loop.step + 1
        rate = loop.rate_scale * one_cycle(
            step, max_steps=loop.max_steps, peak=training.learning_rate, warmup=training.warmup
        )
        tokens, targets = batches.chunk(step)
        seed = derived_seed(training.seed, "dropout", step)
        update = learner.update(tokens, targets, state, learning_rate=rate, dropout_seed=seed)
        if not update.is_finite:
            loop, state = _go_back(store, learner, loop)
            yield RolledBack(step, loop.step, loop.rate_scale)
            continue
        state = update.state
        smoothed = update.loss if loop.train_loss is None else loop.train_loss + (1 - SMOOTHING) * (
            update.loss - loop.train_loss
        )  # fmt: skip
        loop = replace(loop, step=step, train_loss=smoothed)
        yield Stepped(step, loop.max_steps, smoothed, rate, tokens.size)

        now = time.monotonic()
        loop = replace(loop, step_seconds=loop.step_seconds + min(now - mark, longest_step))
        mark = now
        is_last, is_replanning, is_stopping = step == loop.max_steps, False, should_stop()
        if plan.budget_seconds is not None and not loop.replanned and step == replan_step and not is_last:
            is_replanning = True
            loop = replace(
                loop, replanned=True, max_steps=_steps_that_fit(loop, plan.budget_seconds, max_useful_steps(batches))
            )
            if loop.max_steps != plan.max_steps:
                yield Replanned(step, loop.max_steps)

        before, bits_per_byte = loop, None
        if step % plan.evaluate_every == 0 or is_last:
            loss, bits_per_byte = tuning.score(learner)
            if not math.isfinite(loss):
                loop, state = _go_back(store, learner, loop)
                yield RolledBack(step, loop.step, loop.rate_scale)
                continue
            is_best = loss < loop.best_loss
            if is_best:
                loop = replace(loop, best_step=step, best_loss=loss, looks_since_best=0)
            else:
                loop = replace(loop, looks_since_best=loop.looks_since_best + 1)
        if bits_per_byte is not None or is_replanning or is_stopping:
            checkpoint = None
            try:
                checkpoint = store.save(learner, state, loop, training_facts=facts(loop))
            except (EnvironmentFailure, ModelError) as error:  # ModelError: the last update made weights infinite
                if is_last:
                    raise
                yield Note(
                    f"step {step} was not saved: {error}; the last good checkpoint is of step {store.steps()[-1]}"
                )
                loop = before  # what cannot be gone back to is not the best
            if bits_per_byte is not None:
                yield Evaluated(step, bits_per_byte, is_best, checkpoint, loop.step_seconds)
        if is_stopping:
            return


def _go_back(store: CheckpointStore, learner: Learner, loop: LoopState) -> tuple[LoopState, Tensor | None]:
    rate_scale = loop.rate_scale / 2
    good, state, _ = store.load_newest(learner)
    if rate_scale < MIN_RATE_SCALE:
        message = f"training diverged at step {loop.step + 1}: the loss is not finite"
        hint = f"the checkpoint of step {good.step} is good; try --set training.learning_rate=1e-3 --replace"
        raise DivergedError(message, hint=hint)
    return replace(good, rate_scale=rate_scale), state


def _steps_that_fit(loop: LoopState, budget_seconds: float, most: int) -> int:
    """The steps that the budget allows at the speed so far, ``most`` at most; the present number if about right."""
    predicted = loop.step_seconds / loop.step * loop.max_steps
    if abs(predicted / budget_seconds - 1) <= REPLAN_TOLERANCE:
        return loop.max_steps
    return max(loop.step + 1, min(most, int(budget_seconds / loop.step_seconds * loop.step)))
