"""Checkpoints of a run: the files of a model directory plus what the loop needs to continue, bit for bit.

``NAME.run/checkpoints/step-N/`` holds manifest, weights, tokenizer, ``optimizer.safetensors`` (the moments and the
recurrent state of the rows) and ``loop.json``. A checkpoint is written whole or not at all. Older ones are deleted only
after that, and the one with the lowest loss on the tuning split (the validation split) is never deleted.

Shapes: B rows, L num_layers, S state_rows, H hidden_size.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import safetensors.numpy
import torch
from pydantic import ConfigDict, Field, TypeAdapter
from torch import Tensor

from gru_complete.errors import ModelError, printable
from gru_complete.model.directory import ModelContents, load_model, read_extra_file, save_model
from gru_complete.model.manifest import TextFacts
from gru_complete.model.naming import model_argument
from gru_complete.nn.language_model import export_weights, load_weights
from gru_complete.storage import atomic, untrusted
from gru_complete.storage.tensors import check_tensors, parse_safetensors
from gru_complete.text.tokenizer import Tokenizer
from gru_complete.training.learner import Learner

OPTIMIZER_FILE = "optimizer.safetensors"
LOOP_FILE = "loop.json"
KEPT_BESIDE_BEST = 2
_MAX_STEPS = 10**12
SMOOTHING = 0.98  # of the training loss, from step to step
_KEYS = {"evaluations_since_best": "looks_since_best"}
"""Fields of ``LoopState`` that ``loop.json`` calls by another name: it is a file format, and stays as it is."""


@dataclass(frozen=True)
class LoopState:
    """The state of the loop after ``step`` updates; with weights, moments and recurrent state it is complete.

    Args:
        step: updates made.
        max_steps: updates planned; with minutes, as far as is known.
        progress: how far the training is, from 0 to 1, on which the learning rate depends (``pace.py``).
        rate_scale: factor on the learning rate, halved at each rollback.
        best_step: the step whose weights had the lowest tuning loss; 0 before the first evaluation.
        best_loss: that loss, nats per token.
        evaluations_since_best: evaluations since then.
        step_seconds: seconds spent in steps and evaluations, over all sessions of this run.
        train_loss: smoothed training loss, nats per token.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid")

    step: Annotated[int, Field(ge=0)] = 0
    max_steps: Annotated[int, Field(ge=0, le=_MAX_STEPS)] = 0
    progress: Annotated[float, Field(ge=0, le=1)] = 0.0
    rate_scale: Annotated[float, Field(gt=0, le=1)] = 1.0
    best_step: Annotated[int, Field(ge=0)] = 0
    best_loss: Annotated[float, Field(ge=0, allow_inf_nan=False)] = float("inf")
    evaluations_since_best: Annotated[int, Field(ge=0)] = 0
    step_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    train_loss: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the last step is made."""
        return self.progress >= 1.0

    def after_update(self, loss: float, progress: float) -> "LoopState":
        """The state one step later, at this progress; ``loss`` is that step's, nats per token."""
        smoothed = loss if self.train_loss is None else self.train_loss + (1 - SMOOTHING) * (loss - self.train_loss)
        return dataclasses.replace(self, step=self.step + 1, progress=progress, train_loss=smoothed)

    def after_evaluation(self, loss: float) -> "LoopState":
        """The state once this step has scored ``loss`` on the tuning split, nats per token."""
        if loss < self.best_loss:
            return dataclasses.replace(self, best_step=self.step, best_loss=loss, evaluations_since_best=0)
        return dataclasses.replace(self, evaluations_since_best=self.evaluations_since_best + 1)

    def to_json(self) -> bytes:
        """The state as ``loop.json``; an infinite loss, which JSON cannot express, is null."""
        fields = {_KEYS.get(name, name): value for name, value in dataclasses.asdict(self).items()}
        if not np.isfinite(self.best_loss):
            fields["best_loss"] = None
        return json.dumps(fields, sort_keys=True).encode()

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> "LoopState":
        """Read what ``to_json`` wrote.

        Raises:
            ModelError: it is something else.
        """
        names = {key: name for name, key in _KEYS.items()}
        fields = {names.get(key, key): value for key, value in raw.items()}
        try:
            if fields.pop("replanned", None) is not None:  # older runs, whose progress was the share of the steps
                fields["progress"] = min(1.0, fields["step"] / max(1, fields["max_steps"]))
            if fields["best_loss"] is None:
                del fields["best_loss"]
            # Only of JSON does a strict dataclass take objects.
            loop = TypeAdapter(cls).validate_json(json.dumps(fields))
            if not loop.best_step <= loop.step <= loop.max_steps:
                raise ValueError
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{LOOP_FILE} cannot be used ({type(error).__name__})") from None
        return loop


class CheckpointStore:
    """The checkpoints of one run directory, newest by step.

    Args:
        directory: ``NAME.run/checkpoints``.
        tokenizer: saved with every checkpoint, so that each is a whole model.
        text: likewise: what the text is like.
        batch_size: B, of the recurrent states.
    """

    def __init__(self, directory: Path, tokenizer: Tokenizer, text: TextFacts, batch_size: int) -> None:
        self.directory = directory
        self.tokenizer = tokenizer
        self.text = text
        self.batch_size = batch_size

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is or will be."""
        return self.directory / f"step-{step:08d}"

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending."""
        names = (path.name.removeprefix("step-") for path in self.directory.glob("step-*"))
        return sorted(int(name) for name in names if re.fullmatch("[0-9]{8,18}", name))

    def save(
        self, learner: Learner, state: Tensor | None, loop: LoopState, *, training_facts: Mapping[str, Any]
    ) -> Path:
        """Write the checkpoint of ``loop.step`` durably, then delete the older ones.

        Args:
            learner: the model with its optimizer.
            state: the recurrent state of the rows, ``(L, S, B, H)``; None before step 1.
            loop: the state of the loop.
            training_facts: what the manifest says about the training.

        Raises:
            EnvironmentFailure: the disk refuses; the older checkpoints remain.
            ModelError: weights are not finite.
        """
        tensors = learner.optimizer_tensors()
        if state is not None:
            tensors["state"] = state.cpu().numpy()
        extra_files = {OPTIMIZER_FILE: safetensors.numpy.save(tensors), LOOP_FILE: loop.to_json()}
        target = self.path(loop.step)
        with atomic.replace_directory(target) as directory:
            save_model(
                directory,
                ModelContents(
                    arch=learner.model.architecture,
                    weights=export_weights(learner.model),
                    tokenizer=self.tokenizer,
                    metrics={},
                    training=training_facts,
                    text=self.text,
                ),
                extra_files=extra_files,
            )
        self._prune(loop)
        return target

    def _prune(self, loop: LoopState) -> None:
        for step in self.steps()[:-KEPT_BESIDE_BEST]:
            if step != loop.best_step:
                atomic.remove_directory(self.path(step))

    def load_newest(self, learner: Learner) -> tuple[LoopState, Tensor | None, list[str]]:
        """Load the newest usable checkpoint into the learner and remove the damaged ones after it.

        Their steps are made again; if they remained, they would be taken for the newest.

        Returns:
            The state of the loop, the recurrent state of the rows ``(L, S, B, H)``, and a note for each damaged
            checkpoint that was skipped. Without any checkpoint: the state before step 1.

        Raises:
            ModelError: there are checkpoints, but none can be used.
        """
        notes: list[str] = []
        for step in reversed(self.steps()):
            try:
                loop, state = self.load(step, learner)
            except ModelError as error:
                notes.append(f"the checkpoint of step {step} is damaged ({error})")
                continue
            for damaged in self.steps():
                if damaged > step:
                    atomic.remove_directory(self.path(damaged))
            return loop, state, notes
        if notes:
            run_dir = self.directory.parent
            raise ModelError(
                f"no usable checkpoint in {printable(self.directory)}: {'; '.join(notes)}",
                hint=f"remove the run with: gru-complete models remove {model_argument(run_dir.with_suffix(''))} --run",
            )
        return LoopState(), None, notes

    def load(self, step: int, learner: Learner) -> tuple[LoopState, Tensor | None]:
        """Load the checkpoint of one step into the learner; returns the loop's and the recurrent state.

        Raises:
            ModelError: it is missing or damaged.
        """
        path = self.path(step)
        saved = load_model(path)
        loop = LoopState.from_json(untrusted.strict_json(read_extra_file(path, LOOP_FILE), name=LOOP_FILE))
        if loop.step != step:
            raise ModelError(f"{LOOP_FILE} is that of step {loop.step}")
        tensors = parse_safetensors(read_extra_file(path, OPTIMIZER_FILE), name=OPTIMIZER_FILE)
        shapes = learner.optimizer_shapes(step=step)
        if step:
            shapes["state"] = tuple(learner.model.initial_state(self.batch_size).shape)
        check_tensors(tensors, shapes, name=OPTIMIZER_FILE)
        state = tensors.pop("state", None)
        try:
            load_weights(learner.model, saved.weights)
        except ValueError:
            raise ModelError("its weights are not of the sizes that the plan says") from None
        learner.load_optimizer_tensors(tensors, step=step)
        return loop, None if state is None else torch.tensor(state).to(learner.device)
