"""How quickly models train and complete, side by side on one machine."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping

import torch

from gru_complete.model.directory import LoadedModel
from gru_complete.model.run_dir import RunDir
from gru_complete.nn import kernel
from gru_complete.nn.language_model import LanguageModel
from gru_complete.runtime.stepper import Stepper
from gru_complete.text.tokenizer import DOCUMENT_END
from gru_complete.training.batches import Batches, paragraph_ends
from gru_complete.training.device import choose_device
from gru_complete.training.learner import Learner
from gru_complete.training.plan import Plan
from gru_complete.training.tokenized_corpus import read_tokenized_corpus

SPEED_ROUNDS, SPEED_TOKENS = 5, 200
TURN_SECONDS = 0.25


def training_speeds(plans: Mapping[str, Plan], text_dir: RunDir) -> dict[str, float]:
    """Tokens per second of training steps of throw-away models, as each plan has them.

    The models take turns, so that what else the machine does hits all; the quickest step of each counts.
    """
    prepared = read_tokenized_corpus(text_dir)
    stream, ends = prepared.streams["training"], paragraph_ends(prepared.tokenizer, prepared.streams["training"])
    runs = {}
    for name, found in plans.items():
        training = found.config.training
        assert training.batch_size is not None
        device = choose_device(training.device)
        if name == "gru" and device.type == "cpu":
            kernel.enable()
        model = LanguageModel(prepared.tokenizer.vocab_size, **found.config.model.model_dump()).to(device)
        batches = Batches(stream, ends, training.batch_size, training.seq_len, training.seed)
        runs[name] = Learner(model, training, device), batches
    best = dict.fromkeys(plans, math.inf)
    for turn in range(1 + SPEED_ROUNDS):
        for name, (learner, batches) in runs.items():
            if threads := plans[name].config.training.threads:
                torch.set_num_threads(threads)
            state, until = None, time.monotonic() + TURN_SECONDS
            for step in itertools.count(1):
                start = time.perf_counter()
                tokens, targets = batches.chunk(step)
                state = learner.update(tokens, targets, state, learning_rate=1e-6, dropout_seed=step).state
                if turn:  # the first one warms up
                    best[name] = min(best[name], (time.perf_counter() - start) / tokens.size)
                if time.monotonic() > until:
                    break
    return {name: 1 / seconds for name, seconds in best.items()}


def completion_speeds(models: Mapping[str, LoadedModel]) -> dict[str, float]:
    """Tokens per second of the runtime's network, one after the other, the likeliest each time.

    The models take turns, so that what else the machine does hits all; the best of some rounds counts.
    """
    steppers = {name: Stepper(model.manifest.arch, model.weights) for name, model in models.items()}
    best = dict.fromkeys(steppers, math.inf)
    for _ in range(SPEED_ROUNDS):
        for name, stepper in steppers.items():
            token, state = DOCUMENT_END, stepper.initial_state()
            start = time.perf_counter()
            for _ in range(SPEED_TOKENS):
                hidden, state = stepper.step(token, state)
                token = int(stepper.logits(hidden).argmax())
            best[name] = min(best[name], time.perf_counter() - start)
    return {name: SPEED_TOKENS / seconds for name, seconds in best.items()}
