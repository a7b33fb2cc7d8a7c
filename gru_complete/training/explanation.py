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
            f"the widest that reads {TOKENS_PER_WEIGHT:g} tokens for each weight in the given time; "
            f"the {megabytes} suffice for {widest_hidden_size(num_bytes, tokens_read / num_tokens)} at most"
        )
        steps_reason = f"as many as fit into {plan.budget_seconds:.0f} s; more than {MAX_EPOCHS} epochs teach nothing"

    from_nothing = [
        _line(
            f"vocabulary: {vocab_size - 257:,} pieces besides the single bytes",
            wished.tokenizer.vocab_size,
            f"about one for each 1.1 kB of the {megabytes}, from 256 to 4,096",
        ),
        _line(f"width: {model.hidden_size}", wished.model.hidden_size, width_reason),
    ]
    with_base = [f"vocabulary: {vocab_size - 257:,} pieces, and width: {model.hidden_size}, as the base has them"]
    return [
        *_explain_base(plan),
        *(from_nothing if plan.base_sha256 is None else with_base),
        f"weights: {weights:,}, {tokens_read / weights:.1f} tokens read for each",
        _line(
            f"batch: {training.batch_size} rows of {training.seq_len} tokens",
            wished.training.batch_size,
            "since many small steps learn more than few large ones",
        ),
        _line(f"steps: {plan.max_steps:,}", training.steps, steps_reason),
        *_explain_dropout(plan, epochs=tokens_read / num_tokens, num_bytes=num_bytes),
        *_explain_speed(plan),
        *_explain_machine(plan),
        f"n-grams: up to {plan.config.ngrams.order} tokens; the tuning split decides how much weight they get"
        if plan.config.ngrams.order
        else "n-grams: none, as you set it",
    ]


def minutes_to_read_all(plan: Plan, num_tokens: int) -> float:
    """How many minutes the whole command would take if the network read all of the text once.

    Args:
        plan: of a training with minutes.
        num_tokens: tokens of the training split.
    """
    training = plan.config.training
    assert training.batch_size is not None
    assert plan.budget_seconds is not None
    other_seconds = training.minutes * 60 - plan.budget_seconds
    num_steps = num_tokens / (training.batch_size * training.seq_len)
    return (other_seconds + num_steps * plan.budget_seconds / plan.max_steps) / 60


def _explain_base(plan: Plan) -> list[str]:
    """What the training starts from, and why; nothing where there was no choice."""
    base, wished = plan.config.training.base, plan.requested.training.base
    if plan.base_bits is None or plan.counts_bits is None:
        return [] if wished in ("auto", "none") else [f"base: {base}, as you set it"]
    is_better = "less" if plan.base_sha256 is not None else "not enough less"
    return [
        f"base: {base}, since without having read it the built-in model needs {plan.base_bits:.2f} bits for a byte of "
        f"the text, {is_better} than the {plan.counts_bits:.2f} of the text's own phrases"
    ]


def _explain_dropout(plan: Plan, *, epochs: float, num_bytes: int) -> list[str]:
    wished, model = plan.requested.model, plan.config.model
    assert model.hidden_size is not None
    reason = f"since every token is read {epochs:.1f} times"
    if is_wide(model.hidden_size, num_bytes):
        reason += ", by a network that could learn the text by heart"
    return [
        _line(f"dropout: {model.dropout:g}", wished.dropout, reason),
        _line(f"dropout of recurrent weights: {model.weight_dropout:g}", wished.weight_dropout, reason),
    ]


def _explain_speed(plan: Plan) -> list[str]:
    """What was measured, and what a quiet machine would get; nothing where no minutes count."""
    if plan.budget_seconds is None or not plan.quiet_step_seconds:
        return []
    quiet_steps = plan.max_steps * plan.step_seconds / plan.quiet_step_seconds
    return [
        f"speed: {1000 * plan.step_seconds:.3g} ms a step now, {1000 * plan.quiet_step_seconds:.3g} ms if nothing else "
        f"ran; a quiet machine would make about {quiet_steps:,.0f} steps and then need {plan.closing_seconds:.0f} s"
    ]


def _explain_machine(plan: Plan) -> list[str]:
    precision, wished = plan.config.training.precision, plan.requested.training.precision
    if precision == "bfloat16":
        reason = "which this processor multiplies faster; sums and weights are float32"
    else:
        reason = "since this processor does not multiply bfloat16 faster, or there is no compiler for it"
    loops = "those for bfloat16" if precision == "bfloat16" else plan.environment["loops"]
    return [
        _line(f"matrix products: {precision}", None if wished == "auto" else wished, reason),
        f"time loops: {loops}, threads: {plan.environment['threads']}",
    ]


def _line(what: str, wish: object, reason: str) -> str:
    """What was chosen, with the reason unless the user set it."""
    return f"{what}, {reason if wish is None else 'as you set it'}"
