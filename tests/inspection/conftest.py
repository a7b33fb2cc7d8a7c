import numpy as np
import pytest

from gru_complete.inspection.record import Inspection
from gru_complete.inspection.trace import Trace


@pytest.fixture
def inspection_of():
    """Makes an inspection of random gates and states, from the pieces of a text."""
    return make_inspection


def make_inspection(pieces, cell="gru", num_layers=1, found=(), size=4):
    generator = np.random.default_rng(0)
    num_gates = {"rnn": 0, "gru-simple": 1, "lstm": 3}.get(cell, 2)
    shape = (len(pieces), num_layers, num_gates, size)
    states = generator.uniform(-1, 1, size=(len(pieces) + 1, num_layers, 2 if cell == "lstm" else 1, size))
    read = Trace(cell, pieces, generator.uniform(0, 9, len(pieces)), generator.uniform(size=shape), states)
    return Inspection.from_trace("small", b"".join(pieces), read, found, 3)
