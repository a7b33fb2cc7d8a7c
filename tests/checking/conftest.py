import numpy as np
import pytest

from gru_complete.model.architecture import Architecture
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.stepper import Stepper
from tests.fakes import Float64Predictor, LongestFirst

PIECES = (b"a", b"b", b"c", b" ", b",", b" a", b" b", b"ab", b" ab", b" c", b"bc", b" bc", b"a,", b" ca")


@pytest.fixture(scope="module")
def toy():
    tokenizer = LongestFirst(*PIECES, first=(b"",))
    arch = Architecture("gru", tokenizer.vocab_size, 6, 8, 1)
    generator = np.random.default_rng(1)
    weights = {name: generator.normal(size=shape) for name, shape in arch.tensor_shapes().items()}
    return Completer(Float64Predictor(Stepper(arch, weights, np.float64)), tokenizer, width=None)
