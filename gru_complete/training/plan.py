"""What the minutes are spent on: sizes, batch and number of steps, from the corpus and a speed probe of a few seconds.

The choice is a small function of what is known before step 1; its figures come from trainings of 1 to 10 minutes on two
CPU cores with English prose and drama of 0.1 to 20 MB. The plan is written to disk before step 1 and from then on
everything is a function of the step.
"""

import dataclasses
import json
import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gru_complete.arrays import TokenIds
from gru_complete.config import Config, ModelConfig
from gru_complete.errors import ConfigError, ModelError
from gru_complete.model.architecture import Architecture
from gru_complete.model.run_dir import RunDir
from gru_complete.nn import bfloat16, kernel
from gru_complete.storage import untrusted
from gru_complete.training.batches import Batches
from gru_complete.training.probe import probe_step_seconds

MAX_PLAN_BYTES = 1_000_000
PROBED_DROPOUT = 0.1  # any: it costs the same
WIDTHS = (768, 512, 384, 256, 192, 128, 64)
PROBED_WIDTH = 256
TOKENS_PER_WEIGHT = 2.0  # read in the minutes; a wider network that reads fewer learns less
OFTEN, VERY_OFTEN = 20, 45  # times through the text, from which on a wider network learns more if much is dropped
MAX_EPOCHS = 70  # from here on nothing is learnt: the training ends before its minutes do
WIDTH_WITHOUT_MINUTES = 256
EVALUATION_OVERHEAD = 1.04  # looks at the tuning part and saves, as a share of the steps' time


@dataclass(frozen=True)
class Plan:
    """Everything that fixes a run: two runs of one plan on one machine end with the same bits.

    Args:
        requested: the settings as the user gave them, by which a resumed run is known again.
        config: the same with every automatic value filled in.
        max_steps: optimizer updates; the loop may change it once, as an event in the checkpoint.
        evaluate_every: steps between looks at the tuning part.
        budget_seconds: what all steps and looks together may take; None where the user gave the number of steps.
        corpus_sha256: which text.
        environment: torch version, threads, device and processor: bits are only promised where these are equal.
    """

    requested: Config
    config: Config
    max_steps: int
    evaluate_every: int
    budget_seconds: float | None
    corpus_sha256: str
    environment: dict[str, str]

    @property
    def run_id(self) -> str:
        """A short name of this very run, by which its model is known again."""
        return untrusted.sha256_hex(self.to_json())[:16]

    def to_json(self) -> bytes:
        """The plan as the run directory keeps it."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields |= {key: fields[key].model_dump(mode="json") for key in ("requested", "config")}
        return json.dumps(fields, indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> "Plan":
        """Read what ``to_json`` wrote.

        Raises:
            ModelError: it is something else.
        """
        try:
            return cls(**raw | {key: Config.model_validate(raw[key]) for key in ("requested", "config")})
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"the run's plan.json cannot be used ({type(error).__name__})") from None


def read_plan(run_dir: RunDir) -> Plan:
    """The plan of a run, finished or not.

    Raises:
        ModelError: it is missing or damaged.
    """
    data = untrusted.read_regular_file(run_dir.plan_path, max_bytes=MAX_PLAN_BYTES)
    return Plan.from_json(untrusted.strict_json(data, name=run_dir.plan_path.name))


def automatic_vocab_size(num_bytes: int) -> int:
    """Pieces for a training part of this size: rows that are seen too rarely cost more than they say.

    About one piece per 1.1 kB of text, as a power of two: 1,024 for 1 MB and 2,048 for 2.5 MB, 4,096 from 4 MB on.
    """
    return int(min(4096, max(256, 2 ** round(math.log2(max(1, num_bytes) / 1_100)))))


def widest_hidden_size(num_bytes: int, epochs: float) -> int:
    """H that a text of this size can fill when it is read so many times; and the model stays a few MB.

    Where there is time to read it very often, a wider network with much dropout learns more (``is_wide``).
    """
    if num_bytes >= 5_000_000 or (num_bytes >= 1_500_000 and epochs >= OFTEN):
        return 768
    if num_bytes >= 1_500_000 or (num_bytes >= 700_000 and epochs >= VERY_OFTEN):
        return 512
    return 384 if num_bytes >= 250_000 else 256 if num_bytes >= 30_000 else 128


def is_wide(hidden_size: int, num_bytes: int) -> bool:
    """Whether a network has so many weights that it would learn a text of this size by heart."""
    return hidden_size > widest_hidden_size(num_bytes, epochs=0)


def automatic_hidden_size(
    num_bytes: int, num_tokens: int, num_weights: Callable[[int], int], tokens_at_probed: float
) -> int:
    """The widest H that the text fills and that reads enough tokens in the minutes.

    Args:
        num_bytes: of the training part.
        num_tokens: of the training part.
        num_weights: weights of the network at some H.
        tokens_at_probed: what a network of the width ``PROBED_WIDTH`` would read in the time; the speed of others is
            taken as the inverse of their weights, a little slow for wide ones.
    """
    for width in WIDTHS:
        tokens = min(MAX_EPOCHS * num_tokens, tokens_at_probed * num_weights(PROBED_WIDTH) / num_weights(width))
        is_filled = width <= widest_hidden_size(num_bytes, tokens / num_tokens)
        if is_filled and tokens >= TOKENS_PER_WEIGHT * num_weights(width):
            return width
    return WIDTHS[-1]


def automatic_dropout(epochs: float) -> float:
    """More dropout the more often each token is read again; beyond 0.4 it costs more steps than it saves."""
    steps = ((1.5, 0.0), (4, 0.1), (6, 0.2), (OFTEN, 0.3))
    return next((share for limit, share in steps if epochs < limit), 0.4)


def automatic_weight_dropout(epochs: float, *, wide: bool) -> float:
    """Of the recurrent weights, where dropout of features does not keep the network from learning the text by heart."""
    if wide and epochs >= OFTEN:
        return 0.5
    return 0.3 if epochs >= VERY_OFTEN else 0.0


def automatic_batch_size(num_tokens: int, hidden_size: int, device: torch.device) -> int:
    """B: wide enough for the processor's products, narrow enough for many updates and for the stream to fill it."""
    wished = 128 if device.type == "cuda" else 32 if hidden_size >= 512 and num_tokens >= 500_000 else 16
    return max(1, min(wished, num_tokens // 256))


def automatic_precision(device: torch.device) -> str:
    """Bfloat16 where it is quicker; the loss was the same to 0.0001 bits per byte all the way (docs/decisions.md)."""
    return "bfloat16" if bfloat16.is_available(device) else "float32"


def max_useful_steps(batches: Batches) -> int:
    """More steps than this teach nothing new, however much time there is."""
    return MAX_EPOCHS * batches.steps_per_epoch


def make_plan(
    config: Config,
    *,
    stream: TokenIds,
    ends_paragraph: npt.NDArray[np.bool_],
    vocab_size: int,
    num_bytes: int,
    deadline: float,
    corpus_sha256: str,
    device: torch.device,
) -> Plan:
    """Fill in what the config leaves open and count the steps that fit.

    Args:
        config: as the user gave it.
        stream: the training part's token ids, ``(N,)``.
        ends_paragraph: after which ids a paragraph starts, ``(V,)``.
        vocab_size: V.
        num_bytes: bytes of the training part.
        deadline: the ``time.monotonic()`` at which steps and looks at the tuning part shall be over.
        corpus_sha256: which text.
        device: where training runs.

    Raises:
        ConfigError: the sizes that the config asks for are more than a model may have.
        CorpusError: the text is too short for the batch.
    """
    training = config.training
    if training.precision == "auto":
        training = training.model_copy(update={"precision": automatic_precision(device)})
    max_threads = torch.get_num_threads()
    probed_dropout = PROBED_DROPOUT if config.model.dropout is None else config.model.dropout

    def sizes_at(hidden_size: int) -> _Sizes:
        sizes = _sizes(config, hidden_size, len(stream), device)
        _check_sizes(config.model.model_copy(update=sizes.of_model), vocab_size)
        return sizes

    def batches_of(sizes: _Sizes) -> Batches:
        return Batches(stream, ends_paragraph, sizes.batch_size, training.seq_len, training.seed)

    def steps_in_time(sizes: _Sizes) -> tuple[float, float]:
        model = config.model.model_copy(
            update={**sizes.of_model, "dropout": probed_dropout, "weight_dropout": config.model.weight_dropout or 0.0}
        )
        step_seconds = probe_step_seconds(
            model, training, batches_of(sizes), vocab_size=vocab_size, device=device, max_threads=max_threads
        )
        seconds = max(1.0, deadline - time.monotonic())
        return seconds / (step_seconds * EVALUATION_OVERHEAD), seconds

    def num_weights(hidden_size: int) -> int:
        return architecture_from_config(
            config.model.model_copy(update=sizes_at(hidden_size).of_model), vocab_size
        ).num_parameters

    seconds = None
    if training.steps is not None:
        sizes = sizes_at(WIDTH_WITHOUT_MINUTES)
        max_steps = training.steps
        batches_of(sizes)  # which refuses a text that is too short
    else:
        hidden_size = config.model.hidden_size
        if hidden_size is None:
            probed = sizes_at(PROBED_WIDTH)
            tokens = steps_in_time(probed)[0] * probed.batch_size * training.seq_len
            hidden_size = automatic_hidden_size(num_bytes, len(stream), num_weights, tokens)
        sizes = sizes_at(hidden_size)
        steps, seconds = steps_in_time(sizes)
        max_steps = max(1, min(int(steps), max_useful_steps(batches_of(sizes))))
    epochs = max_steps * sizes.batch_size * training.seq_len / len(stream)
    wide = is_wide(sizes.of_model["hidden_size"], num_bytes)
    dropout = automatic_dropout(epochs) if config.model.dropout is None else config.model.dropout
    weight_dropout = config.model.weight_dropout
    if weight_dropout is None:
        weight_dropout = automatic_weight_dropout(epochs, wide=wide)
    resolved = config.model_copy(
        update={
            "tokenizer": config.tokenizer.model_copy(
                update={"vocab_size": config.tokenizer.vocab_size or automatic_vocab_size(num_bytes)}
            ),
            "model": config.model.model_copy(
                update={**sizes.of_model, "dropout": dropout, "weight_dropout": weight_dropout}
            ),
            "training": training.model_copy(
                update={"batch_size": sizes.batch_size, "threads": torch.get_num_threads(), "device": device.type}
            ),
        }
    )
    return Plan(
        requested=config,
        config=resolved,
        max_steps=max_steps,
        evaluate_every=max(1, math.ceil(max_steps / training.evaluations)),
        budget_seconds=seconds,
        corpus_sha256=corpus_sha256,
        environment=describe_environment(device),
    )


@dataclass(frozen=True)
class _Sizes:
    of_model: dict[str, int]
    batch_size: int


def architecture_from_config(model: ModelConfig, vocab_size: int) -> Architecture:
    """The sizes of the network that a config with all sizes filled in describes."""
    assert model.embedding_size is not None
    assert model.hidden_size is not None
    return Architecture(model.cell, vocab_size, model.embedding_size, model.hidden_size, model.num_layers)


def _check_sizes(model: ModelConfig, vocab_size: int) -> None:
    try:
        Architecture.from_json(architecture_from_config(model, vocab_size)._asdict())
    except ModelError as error:
        raise ConfigError(f"the model would be too large: {error}") from None


def _sizes(config: Config, hidden_size: int, num_tokens: int, device: torch.device) -> _Sizes:
    """What the config says, and where it says nothing what suits the width."""
    hidden_size = config.model.hidden_size or hidden_size
    of_model = {"hidden_size": hidden_size, "embedding_size": config.model.embedding_size or min(256, hidden_size)}
    batch_size = config.training.batch_size or automatic_batch_size(num_tokens, hidden_size, device)
    return _Sizes(of_model, batch_size)


def describe_environment(device: torch.device) -> dict[str, str]:
    """What the bits of a training depend on besides its plan."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "torch": torch.__version__,
        "device": f"{device.type} {name}",
        "threads": str(torch.get_num_threads()),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "loops": kernel.description(),
    }
