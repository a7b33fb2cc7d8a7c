"""The network with its optimizer, and what one update is.

Shapes: B rows, T tokens per chunk, L num_layers, S state_rows, H hidden_size.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gru_complete.arrays import TokenIds
from gru_complete.config import TrainingConfig
from gru_complete.nn import bfloat16
from gru_complete.nn.language_model import LanguageModel
from gru_complete.training.device import out_of_memory_hint


@dataclass(frozen=True)
class Update:
    """The result of one update.

    Attributes:
        loss: mean nats per token, before the update.
        grad_norm: the length of the gradient, before it was clipped.
        state: the recurrent state after the last token, ``(L, S, B, H)``.
    """

    loss: float
    grad_norm: float
    state: Tensor

    @property
    def is_finite(self) -> bool:
        """Whether the update was applied; non-finite numbers never reach the weights."""
        return bool(np.isfinite(self.loss) and np.isfinite(self.grad_norm))


class Learner:
    """A language model trained by AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), weight decay on matrices only.

    Args:
        model: the network; its precision for training is set here.
        training: precision, clipping and decay.
        device: where the network is.
    """

    def __init__(self, model: LanguageModel, training: TrainingConfig, device: torch.device) -> None:
        self.model = model
        if training.precision == "bfloat16" and bfloat16.is_available(device):
            model.training_dtype = torch.bfloat16
        self.device = device
        self.max_grad_norm = training.max_grad_norm
        matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
        vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": training.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
            betas=(0.9, 0.99),
            fused=True,
        )

    def update(
        self, tokens: TokenIds, targets: TokenIds, state: Tensor | None, *, learning_rate: float, dropout_seed: int
    ) -> Update:
        """Read a chunk and take one step along its gradient, unless that is not finite.

        Args:
            tokens: ids read, ``(B, T)``.
            targets: ids that follow them, ``(B, T)``.
            state: where the previous chunk ended, ``(L, S, B, H)``; zeros if None.
            learning_rate: the step's rate.
            dropout_seed: seed of dropout; the same seed drops the same units.
        """
        torch.manual_seed(dropout_seed)
        self.model.train()
        with out_of_memory_hint():
            loss, state = self.model.loss(self._on_device(tokens), self._on_device(targets), state)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            grad_norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
            update = Update(loss.item(), grad_norm.item(), state.detach())
            if update.is_finite:
                for group in self.optimizer.param_groups:
                    group["lr"] = learning_rate
                self.optimizer.step()
        return update

    def _on_device(self, ids: TokenIds) -> Tensor:
        return torch.from_numpy(ids).to(self.device)

    def optimizer_tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """The optimizer's two moments of every parameter, on the CPU, by name."""
        tensors = {}
        for name, parameter in self.model.named_parameters():
            for moment in ("exp_avg", "exp_avg_sq"):
                if moments := self.optimizer.state.get(parameter):
                    tensors[f"{moment}.{name}"] = moments[moment].detach().cpu().numpy()
        return tensors

    def optimizer_shapes(self, *, step: int) -> dict[str, tuple[int, ...]]:
        """The names and shapes of ``optimizer_tensors`` after ``step`` updates; before the first there are none."""
        parameters = self.model.named_parameters() if step else ()
        moments = ("exp_avg", "exp_avg_sq")
        return {f"{moment}.{name}": tuple(array.shape) for name, array in parameters for moment in moments}

    def load_optimizer_tensors(self, tensors: dict[str, npt.NDArray[np.float32]], *, step: int) -> None:
        """Restore what ``optimizer_tensors`` returned after ``step`` updates; before the first there is nothing."""
        self.optimizer.state.clear()
        if step == 0:
            return
        for name, parameter in self.model.named_parameters():
            moments = {
                moment: torch.tensor(tensors[f"{moment}.{name}"]).to(parameter) for moment in ("exp_avg", "exp_avg_sq")
            }
            # The fused step counts in float32 beside the parameter.
            self.optimizer.state[parameter] = {"step": torch.tensor(float(step), device=parameter.device), **moments}
