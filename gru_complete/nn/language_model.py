"""Recurrent language model: token ids in, scores for the next token out.

Shapes: B rows, T time steps, E embedding_size, H hidden_size, L num_layers, S state_rows, V vocab_size.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gru_complete.model.architecture import Architecture
from gru_complete.nn import bfloat16
from gru_complete.nn.cells import CELL_CLASSES, RecurrentCell
from gru_complete.nn.cross_entropy import linear_cross_entropy
from gru_complete.nn.sequence import run_sequence
from gru_complete.text.tokenizer import DOCUMENT_END


class LanguageModel(nn.Module):
    """Embedding, recurrent cells, projection back to E, output weights tied to the embedding.

    From the second cell on, a cell's input is added to its output (residual connections, He et al. 2016). Tying
    follows Press and Wolf 2017, arXiv:1608.05859. Dropout, in training mode only and from torch's global generator,
    acts on the embedded tokens and on the last cell's output before the projection, never on the recurrent state
    (Zaremba et al. 2014, arXiv:1409.2329). Dropout of the recurrent weights, the same for all steps of a chunk, follows
    Merity et al. 2018, arXiv:1708.02182.

    The parameters' names are those of the model file.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        cell: str = "gru",
        embedding_size: int,
        hidden_size: int,
        num_layers: int = 1,
        dropout: float = 0.0,
        weight_dropout: float = 0.0,
        update_bias: float = -1.0,
        chrono_length: int | None = None,
    ) -> None:
        """Draw fresh weights from torch's global generator.

        Args:
            vocab_size: V.
            cell: a name of ``CELL_CLASSES``.
            embedding_size: E.
            hidden_size: H, of every cell.
            num_layers: L.
            dropout: the share of features set to zero in training.
            weight_dropout: the share of the cells' recurrent weights set to zero in training, anew for each chunk.
            update_bias: see ``RecurrentCell.reset_parameters``.
            chrono_length: see ``RecurrentCell.reset_parameters``.

        Raises:
            ValueError: a dropout is not in [0, 1).
        """
        super().__init__()
        for name, share in (("dropout", dropout), ("weight_dropout", weight_dropout)):
            if not 0 <= share < 1:
                message = f"{name}={share} is not at least 0 and below 1"
                raise ValueError(message)
        self.architecture = Architecture(cell, vocab_size, embedding_size, hidden_size, num_layers)
        self.dropout = dropout
        self.weight_dropout = weight_dropout
        self.training_dtype = torch.float32
        """The type that ``loss`` rounds the operands of products to; ``Learner`` sets it where kernels exist."""
        self.embedding = nn.Parameter(torch.empty(vocab_size, embedding_size))
        input_sizes = [embedding_size] + [hidden_size] * (num_layers - 1)
        cells = [CELL_CLASSES[cell](input_size, hidden_size) for input_size in input_sizes]
        self.cells = nn.ModuleList(cells)
        is_projected = embedding_size != hidden_size
        self.projection = nn.Parameter(torch.empty(embedding_size, hidden_size)) if is_projected else None
        self.output_bias = nn.Parameter(torch.zeros(vocab_size))
        for layer in cells:
            layer.reset_parameters(update_bias, chrono_length)
        self._reset_embedding()

    def _reset_embedding(self) -> None:
        """Draw the embedding and the projection.

        The embedding's rows get a length of about 3. As output weights they must not make a fresh model sure of
        anything, which asks for small ones (length 1 is usual); but the first cell sees them too, and learns faster if
        they move its gates.
        """
        nn.init.normal_(self.embedding, std=3 * self.architecture.embedding_size**-0.5)
        if self.projection is not None:
            nn.init.xavier_uniform_(self.projection)

    def initial_state(self, batch_size: int) -> Tensor:
        """The state before any text, all zeros: ``(L, S, B, H)``."""
        state_rows = CELL_CLASSES[self.architecture.cell].state_rows
        size = (self.architecture.num_layers, state_rows, batch_size, self.architecture.hidden_size)
        return self.embedding.new_zeros(size)

    def forward(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Read a chunk of text and score what follows each position.

        A token ``DOCUMENT_END`` starts a document: the row's state is zeroed before it is read.

        Args:
            tokens: token ids, ``(B, T)``.
            state: where the previous chunk ended, ``(L, S, B, H)``; zeros if omitted.

        Returns:
            Logits ``(B, T, V)``, where position t scores token t + 1, and the state after the last token. Gradients
            flow through the state; detach it to truncate them.
        """
        features, state = self.read(tokens, state)
        return self.logits(features).transpose(0, 1), state

    def loss(self, tokens: Tensor, targets: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean nats per token of ``targets``, the tokens one step later ``(B, T)``, and the state at the end.

        For training: see ``linear_cross_entropy``. ``training/scoring`` measures what a text costs.
        """
        dtype = self.training_dtype
        features, state = self.read(tokens, state, dtype=dtype)
        flat, targets = features.flatten(0, 1), targets.t().flatten()
        return linear_cross_entropy(flat, self.embedding, self.output_bias, targets, dtype=dtype), state

    def read(
        self, tokens: Tensor, state: Tensor | None = None, *, dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor]:
        """``forward`` without the last product.

        Args:
            tokens: token ids, ``(B, T)``.
            state: where the previous chunk ended, ``(L, S, B, H)``; zeros if omitted.
            dtype: bfloat16 to round the operands of products to it, where ``bfloat16.is_available``.

        Returns:
            The features that ``logits`` turns into scores, time-major ``(T, B, E)``, and the state at the end.
        """
        state = self.initial_state(len(tokens)) if state is None else state
        starts = tokens == DOCUMENT_END
        keep = (~starts).to(self.embedding.dtype) if bool(starts.any()) else None
        dropout = self.dropout if self.training else 0.0
        features = drop_features(F.embedding(tokens.t(), self.embedding), dropout, dtype=dtype)
        ends = []
        for layer, (cell, start) in enumerate(zip(self.cells, state.unbind(0), strict=True)):
            assert isinstance(cell, RecurrentCell)
            if self.training and self.weight_dropout:
                cell = cell.with_recurrent_weights(drop_features(cell.weight_h, self.weight_dropout))
            hidden, end = run_sequence(cell, features.transpose(0, 1), start, keep, dtype=dtype)
            ends.append(end)
            features = hidden.transpose(0, 1) if layer == 0 else features + hidden.transpose(0, 1)
        features = drop_features(features, dropout, dtype=dtype)
        if self.projection is not None:
            linear = bfloat16.linear if dtype == torch.bfloat16 else F.linear
            features = linear(features, self.projection)
        return features, torch.stack(ends)

    def logits(self, features: Tensor) -> Tensor:
        """Unnormalised scores ``(..., V)`` from the features ``(..., E)`` that ``read`` returned."""
        return F.linear(features, self.embedding, self.output_bias)


def drop_features(features: Tensor, share: float, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Dropout (Srivastava et al. 2014): set a random share of the features to zero and scale up the rest.

    One random byte decides on each feature, so that the share is rounded to a multiple of 1/256. ``F.dropout`` draws a
    float for each, which takes ten times as long on a CPU: an eighth of a training step.

    Args:
        features: any shape.
        share: at least 0 and below 1.
        dtype: bfloat16 to round the result to it, where ``bfloat16.is_available``.
    """
    dropped = min(round(share * 256), 255)
    if dropped == 0:
        return features if dtype == torch.float32 else features.to(dtype)
    if dtype == torch.bfloat16:
        return bfloat16.drop(features, dropped)
    words = torch.empty(features.numel() // 8 + 1, dtype=torch.int64, device=features.device).random_(-(2**63), None)
    random_bytes = words.view(torch.uint8)[: features.numel()].view(features.shape)
    mask = torch.empty(features.shape, dtype=features.dtype, device=features.device)
    return features * torch.ge(random_bytes, dropped, out=mask).mul_(256 / (256 - dropped))


def export_weights(model: LanguageModel) -> dict[str, np.ndarray]:
    """Copy the weights into float32 arrays with the names of the model file."""
    return {name: parameter.detach().float().cpu().numpy().copy() for name, parameter in model.named_parameters()}


def load_weights(model: LanguageModel, weights: Mapping[str, np.ndarray]) -> None:
    """Set the model's parameters from arrays with the names of the model file.

    Raises:
        ValueError: names or shapes are not those of the model.
    """
    expected = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    given = {name: array.shape for name, array in weights.items()}
    if given != expected:
        message = f"weights {given} do not fit the model's {expected}"
        raise ValueError(message)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.tensor(weights[name]))
