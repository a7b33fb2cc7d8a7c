"""The sizes of a model, which fix the name and shape of every weight.

Shapes: V vocab_size, E embedding_size, H hidden_size, G gates of the cell, I inputs of a cell (E or H).
"""

import math
from typing import NamedTuple

from gru_complete.errors import ModelError
from gru_complete.storage.untrusted import json_object, short_repr, whole_number

GATES = {"rnn": 1, "rnn-relu": 1, "gru-simple": 2, "gru": 3, "gru-reset-after": 3, "lstm": 4}
"""The blocks of H rows in a cell's weights: its gates and, if it has gates, its candidate (see ``nn/cells``)."""
CELLS = tuple(GATES)
STATE_ROWS = {cell: 2 if cell == "lstm" else 1 for cell in CELLS}
"""The vectors of size H that a cell carries from step to step: the LSTM has its memory besides its output."""
_MAX_SIZES = {"vocab_size": 70_000, "embedding_size": 8192, "hidden_size": 8192, "num_layers": 16}
_MAX_PARAMETERS = 200_000_000


class Architecture(NamedTuple):
    """The kind of cell and the sizes of a model.

    Attributes:
        cell: one of ``CELLS``.
        vocab_size: V.
        embedding_size: E.
        hidden_size: H, of every cell.
        num_layers: how many cells there are, one upon the other.
    """

    cell: str
    vocab_size: int
    embedding_size: int
    hidden_size: int
    num_layers: int

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """The name and shape of every weight; a cell's gates are blocks of rows in the order of ``nn/cells``."""
        gate_rows = GATES[self.cell] * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {"embedding": (self.vocab_size, self.embedding_size)}
        for layer in range(self.num_layers):
            input_size = self.hidden_size if layer else self.embedding_size
            shapes[f"cells.{layer}.weight_x"] = (gate_rows, input_size)
            shapes[f"cells.{layer}.weight_h"] = (gate_rows, self.hidden_size)
            shapes[f"cells.{layer}.bias"] = (gate_rows,)
            if self.cell == "gru-reset-after":
                shapes[f"cells.{layer}.bias_hidden"] = (self.hidden_size,)
        if self.embedding_size != self.hidden_size:
            shapes["projection"] = (self.embedding_size, self.hidden_size)
        shapes["output_bias"] = (self.vocab_size,)
        return shapes

    @property
    def num_parameters(self) -> int:
        """How many numbers the weights hold; the output weights are the embedding and count once."""
        return sum(math.prod(shape) for shape in self.tensor_shapes().values())

    @classmethod
    def from_json(cls, value: object) -> "Architecture":
        """Read the ``arch`` of a manifest, and refuse sizes that only a mistake or an attack would ask for.

        Raises:
            ModelError: a key is missing, unknown, of the wrong type or out of range.
        """
        sizes = json_object(value, "arch", required=["cell", *_MAX_SIZES])
        if sizes["cell"] not in CELLS:
            raise ModelError(f"arch.cell is {short_repr(sizes['cell'])}, not one of {', '.join(CELLS)}")
        for name, largest in _MAX_SIZES.items():
            whole_number(sizes[name], f"arch.{name}", smallest=1, largest=largest)
        arch = cls(**sizes)
        if arch.num_parameters > _MAX_PARAMETERS:
            raise ModelError(f"arch asks for {arch.num_parameters} parameters; at most {_MAX_PARAMETERS} are allowed")
        return arch
