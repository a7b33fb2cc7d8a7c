import pytest

from gru_complete.comparison.settings import hidden_size_for, read_settings
from gru_complete.errors import ModelError
from gru_complete.model.architecture import CELLS, Architecture


@pytest.mark.parametrize("cell", CELLS)
def test_the_hidden_size_for_a_number_of_parameters_is_the_nearest_one(cell):
    arch = Architecture(cell, 300, 32, 1, 1)
    for wanted in (12_000, 50_000, 400_000):
        found = hidden_size_for(arch, wanted)
        miss = {size: abs(arch._replace(hidden_size=size).num_parameters - wanted) for size in range(1, 700)}
        assert miss[found] == min(miss.values())


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"config": {}}', '{"config": {"model": 3}}'])
def test_a_damaged_settings_file_says_how_to_start_again(tmp_path, content):
    path = tmp_path / "compare.json"
    path.write_text(content)
    with pytest.raises(ModelError, match="cannot be used") as caught:
        read_settings(path)
    assert "--replace" in caught.value.hint
