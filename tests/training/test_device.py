import pytest

from gru_complete.errors import (
    EnvironmentFailure,
)
from gru_complete.training.device import out_of_memory_hint


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to")]
)
def test_running_out_of_memory_says_which_setting_to_lower(error):
    with pytest.raises(EnvironmentFailure, match="out of memory") as caught, out_of_memory_hint():
        raise error
    assert "training.batch_size" in caught.value.hint


def test_other_errors_of_torch_pass_unchanged():
    with pytest.raises(RuntimeError, match="illegal memory access"), out_of_memory_hint():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
