"""The training loss: from features to the mean nats per token, with the gradients computed on the way.

Shapes: N tokens of a chunk in all rows, E embedding_size, V vocab_size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from gru_complete.nn import bfloat16

LOGITS_AT_ONCE = 1 << 19
"""Scores that are held at a time, 2 MB of float32: what a processor's cache holds besides the weights."""


def linear_cross_entropy(
    features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, *, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Mean of -log softmax(weight @ features + bias) at the targets, in nats.

    The same as ``F.cross_entropy(F.linear(features, weight, bias), targets)``, but never holds all N*V scores: loss
    and gradient of a few rows are computed while their scores are in the cache. For training only: the gradients are
    computed in the forward pass even if they are not needed.

    Args:
        features: ``(N, E)``.
        weight: ``(V, E)``.
        bias: ``(V,)``.
        targets: int64, ``(N,)``.
        dtype: bfloat16 to round the operands of products to it, where ``bfloat16.is_available``.
    """
    function = _LinearCrossEntropyBFloat16 if dtype == torch.bfloat16 else _LinearCrossEntropy
    loss: Tensor = function.apply(features, weight, bias, targets)  # type: ignore[no-untyped-call]
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    """The gradient of the logits is softmax minus one-hot, so it can be computed along with the loss."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        num_tokens = len(targets)
        d_features, d_weight, d_bias = torch.empty_like(features), torch.zeros_like(weight), torch.zeros_like(bias)
        total = features.new_zeros(())
        rows_at_once = max(1, LOGITS_AT_ONCE // len(weight))
        for start in range(0, num_tokens, rows_at_once):
            rows = slice(start, start + rows_at_once)
            part, ids = features[rows], targets[rows].unsqueeze(-1)
            log_probabilities = F.log_softmax(torch.addmm(bias, part, weight.t()), dim=-1)
            total -= log_probabilities.gather(-1, ids).sum()
            d_logits = log_probabilities.exp_()
            d_logits.scatter_add_(-1, ids, d_logits.new_full((1, 1), -1.0).expand_as(ids)).div_(num_tokens)
            torch.mm(d_logits, weight, out=d_features[rows])
            d_weight.addmm_(d_logits.t(), part)
            d_bias += d_logits.sum(0)
        ctx.save_for_backward(d_features, d_weight, d_bias)
        return total / num_tokens

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        d_features, d_weight, d_bias = ctx.saved_tensors
        return d_features * grad, d_weight * grad, d_bias * grad, None


class _LinearCrossEntropyBFloat16(torch.autograd.Function):
    """The same with the operands of products, and the scores without bias, in bfloat16."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        features, weight = features.to(torch.bfloat16), weight.to(torch.bfloat16)
        scores = bfloat16.product(features, weight.t())
        losses, d_bias = bfloat16.softmax_gradient(scores, bias, targets, len(targets))
        d_features, d_weight = bfloat16.product(scores, weight), bfloat16.product(scores.t(), features)
        ctx.save_for_backward(d_features, d_weight, d_bias)
        return losses.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        d_features, d_weight, d_bias = ctx.saved_tensors
        return d_features * grad, d_weight * grad, d_bias * grad, None
