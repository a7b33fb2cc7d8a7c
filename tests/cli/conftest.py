import numpy as np
import pytest

from gru_complete.model.directory import ModelContents, load_model, save_model


@pytest.fixture
def model_of(trained_model, tmp_path):
    """Make an untrained model of any cell and depth with the tiny model's tokenizer."""
    base = load_model(trained_model)

    def make(cell, num_layers=1):
        arch = base.manifest.arch._replace(cell=cell, num_layers=num_layers)
        generator = np.random.default_rng(0)
        shapes = arch.tensor_shapes().items()
        weights = {name: generator.normal(size=shape, scale=0.5).astype(np.float32) for name, shape in shapes}
        path = tmp_path / f"{cell}-{num_layers}"
        path.mkdir()
        save_model(
            path,
            ModelContents(
                arch=arch,
                weights=weights,
                tokenizer=base.tokenizer,
                metrics={},
                training={},
            ),
        )
        return path

    return make
