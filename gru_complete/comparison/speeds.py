"""How fast models train and complete, measured side by side on one machine."""

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

SPEED_ROUNDS = 5
SPEED_TOKENS = 200  # completed in one round
TURN_SECONDS = 0.25  # of training, in one round


def training_speeds(plans: Mapping[str, Plan], text_dir: RunDir) -> dict[str, float]:
    """Tokens per second of training steps, measured on throw-away models with the sizes and settings of each plan.

    The models take turns, so that other load on the machine affects all of them; the fastest step of each counts.

    Args:
        plans: the plan of each cell, by its name.
        text_dir: the tokens that all cells share.
    """
    corpus = read_tokenized_corpus(text_dir)
    stream, ends = corpus.streams["training"], paragraph_ends(corpus.tokenizer, corpus.streams["training"])
    runs = {}
    for name, plan in plans.items():
        training = plan.config.training
        assert training.batch_size is not None
        device = choose_device(training.device)
        if name == "gru" and device.type == "cpu":
            kernel.enable()
        model = LanguageModel(corpus.tokenizer.vocab_size, **plan.config.model.model_dump()).to(device)
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
    """Tokens per second of greedy decoding in the runtime's network, one token at a time.

    The models take turns, so that other load on the machine affects all of them; the fastest round of each counts.
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
