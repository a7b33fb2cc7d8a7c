"""What `train --explain` says about a plan."""

from gru_complete.training.automatic import MAX_EPOCHS, TOKENS_PER_WEIGHT, is_wide, widest_hidden_size
from gru_complete.training.plan import Plan, architecture_from_config


def explain(plan: Plan, *, num_bytes: int, num_tokens: int, vocab_size: int) -> list[str]:
    """What was chosen and why, one decision a line.

    Args:
        plan: what was chosen.
        num_bytes: bytes of the training split.
        num_tokens: tokens of the training split.
        vocab_size: V, which includes the 256 bytes.
    """
    wished, model, training = plan.requested, plan.config.model, plan.config.training
    assert training.batch_size is not None
    tokens_read = plan.max_steps * training.batch_size * training.seq_len
    weights = architecture_from_config(model, vocab_size).num_parameters
    megabytes = f"{num_bytes / 1e6:.2g} MB of training text"
    if plan.budget_seconds is None:
        width_reason, steps_reason = "which suits any number of steps", ""
    else:
        width_reason = (
            f"the widest that reads {TOKENS_PER_WEIGHT:g} tokens for each weight in the time; "
            f"the {megabytes} fill {widest_hidden_size(num_bytes, tokens_read / num_tokens)} at most"
        )
        steps_reason = (
            f"what fits {plan.budget_seconds:.0f} s; more than {MAX_EPOCHS} times through the text teach nothing"
        )

    assert model.hidden_size is not None
    times = f"every token is read {tokens_read / num_tokens:.1f} times"
    if is_wide(model.hidden_size, num_bytes):
        times += ", by a network that could learn the text by heart"

    def line(what: str, wish: object, reason: str) -> str:
        return f"{what}, {reason if wish is None else 'as you set it'}"

    return [
        line(
            f"vocabulary: {vocab_size - 257:,} pieces besides the single bytes",
            wished.tokenizer.vocab_size,
            f"about one for each 1.1 kB of the {megabytes}, from 256 to 4,096",
        ),
        line(f"width: {model.hidden_size}", wished.model.hidden_size, width_reason),
        f"weights: {weights:,}, {tokens_read / weights:.1f} tokens read for each",
        line(
            f"batch: {training.batch_size} rows of {training.seq_len} tokens",
            wished.training.batch_size,
            "since many small steps learn more than few large ones",
        ),
        line(f"steps: {plan.max_steps:,}", training.steps, steps_reason),
        line(
            f"dropout: {model.dropout:g}",
            wished.model.dropout,
            f"since {times}",
        ),
        line(
            f"dropout of recurrent weights: {model.weight_dropout:g}",
            wished.model.weight_dropout,
            f"since {times}",
        ),
        line(
            f"products: {training.precision}",
            None if wished.training.precision == "auto" else training.precision,
            "which the processor has units for; sums and weights are float32"
            if training.precision == "bfloat16"
            else "since there are no units for bfloat16 here, or no compiler to reach them",
        ),
        f"time loops: {'those for bfloat16' if training.precision == 'bfloat16' else plan.environment['loops']}, "
        f"threads: {plan.environment['threads']}",
        f"counts: of up to {plan.config.ngrams.order} tokens; how far they are believed, the tuning part says"
        if plan.config.ngrams.order
        else "counts: none, as you set it",
    ]
