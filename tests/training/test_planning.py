import time

import pytest

from gru_complete.config import load_config
from gru_complete.errors import (
    ConfigError,
)
from gru_complete.training import events
from tests.training.runs import of_type, train


def test_a_size_that_no_model_may_have_is_a_config_error_before_any_step(request_for, tiny_overrides, tmp_path):
    large = load_config(None, [*tiny_overrides, "model.hidden_size=8192", "model.num_layers=16"])
    with pytest.raises(ConfigError, match="the model would be too large"):
        train(request_for(config=large))
    assert not (tmp_path / "model.run").exists()


def test_minutes_make_a_plan_that_fits_them(request_for, tiny_overrides):
    overrides = [setting for setting in tiny_overrides if "steps" not in setting]
    started = time.monotonic()
    config = load_config(None, [*overrides, "training.minutes=0.15"])
    seen = train(request_for(config=config, started=started))
    plan = of_type(seen, events.Planned)[0].plan
    assert plan.max_steps > 24
    assert 0 < plan.budget_seconds < 9
    assert seen[-1].seconds < 20  # a guard against no budget at all; how well it is kept is a benchmark's matter
