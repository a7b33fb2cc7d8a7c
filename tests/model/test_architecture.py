"""The sizes of a model: its tensors, and what is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_complete.errors import ModelError
from gru_complete.model.architecture import CELLS, STATE_ROWS, Architecture


def test_shapes_and_parameters_are_those_of_the_table():
    arch = Architecture("gru", vocab_size=7, embedding_size=2, hidden_size=3, num_layers=2)
    assert arch.tensor_shapes() == {
        "embedding": (7, 2),
        "cells.0.weight_x": (9, 2),
        "cells.0.weight_h": (9, 3),
        "cells.0.bias": (9,),
        "cells.1.weight_x": (9, 3),
        "cells.1.weight_h": (9, 3),
        "cells.1.bias": (9,),
        "projection": (2, 3),
        "output_bias": (7,),
    }
    assert arch.num_parameters == 7 * 2 + 3 * 3 * (3 + 2 + 1) + 3 * 3 * (3 + 3 + 1) + 2 * 3 + 7
    assert "projection" not in arch._replace(embedding_size=3).tensor_shapes()
    one_layer = arch._replace(num_layers=1)
    expected = {"rnn": 18, "rnn-relu": 18, "gru-simple": 36, "gru": 54, "gru-reset-after": 45 + 12, "lstm": 72}
    for cell, num_parameters in expected.items():
        assert one_layer._replace(cell=cell).num_parameters - (14 + 6 + 7) == num_parameters
    assert {cell: 2 if cell == "lstm" else 1 for cell in expected} == STATE_ROWS


anything = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
)


sizes = st.integers(-2, 2**33) | st.sampled_from([1, 8192, 8193, 70_000, 2**31, 2**63, 10**30]) | anything


@settings(max_examples=300, deadline=None)
@given(
    cell=st.sampled_from([*CELLS, "GRU"]) | anything,
    vocab_size=sizes,
    embedding_size=sizes,
    hidden_size=sizes,
    num_layers=sizes,
)
def test_sizes_are_bounded_before_anything_is_allocated(**arch):
    try:
        result = Architecture.from_json(arch)
    except ModelError as error:
        assert "arch" in str(error)  # noqa: PT017
    else:
        assert result.num_parameters <= 200_000_000
        assert all(type(size) is int for size in result[1:])


@pytest.mark.parametrize("size", ["vocab_size", "embedding_size", "hidden_size", "num_layers"])
@pytest.mark.parametrize("value", [0, -1, 2**31, 10**6, True, "512", 512.0, None])
def test_a_value_that_is_not_a_size_is_refused_by_name(size, value):
    arch = {"cell": "gru", "vocab_size": 300, "embedding_size": 2, "hidden_size": 3, "num_layers": 1, size: value}
    with pytest.raises(ModelError, match=f"arch.{size} is "):
        Architecture.from_json(arch)
