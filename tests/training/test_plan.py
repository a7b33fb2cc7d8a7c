import json

import pytest

from gru_complete.errors import ModelError
from gru_complete.model.run_dir import RunDir
from gru_complete.training.plan import Plan, check_fits, read_plan

OTHER_TYPES = [True, "1", [], {}, [1], {"a": 1}, 0.5, -1, 0, 10**400, None, 1e308]
FITTING = {("max_steps", 10**12): True, ("budget_seconds", None): True}


@pytest.fixture
def raw(trained_model):
    """A plan as its file says it."""
    return json.loads(RunDir.beside(trained_model).plan_path.read_bytes())


def test_a_plan_comes_back_from_its_file(raw, trained_model):
    plan = Plan.from_json(raw)
    assert json.loads(plan.to_json()) == raw
    assert read_plan(RunDir.beside(trained_model)) == plan


SPEEDS = {"step_seconds", "quiet_step_seconds", "closing_seconds"}
OF_BASES = {"base_bits", "counts_bits"}


@pytest.mark.parametrize("value", OTHER_TYPES, ids=lambda value: repr(value)[:12])
def test_a_field_of_another_type_or_out_of_range_is_refused(raw, value):
    seconds = (0.5, 0, 1e308)
    fitting = {
        "budget_seconds": (None, 0.5, 1e308),
        **dict.fromkeys(SPEEDS, seconds),
        **dict.fromkeys(OF_BASES, (None, *seconds)),
        "base_sha256": (None, "1"),
        "environment": ({},),
        "corpus_sha256": ("1",),
    }
    for key in raw:
        refused = value if not any(value == fit and type(value) is type(fit) for fit in fitting.get(key, ())) else 3j
        if refused == 3j or (key in ("requested", "config") and value == {}):
            continue  # an empty config is that of the defaults
        with pytest.raises(ModelError, match=r"plan\.json cannot be used"):
            Plan.from_json(raw | {key: refused})


def test_a_field_that_is_missing_or_unknown_is_refused(raw):
    for key in set(raw) - SPEEDS - OF_BASES - {"base_sha256"}:  # which plans of older versions lack
        with pytest.raises(ModelError, match=r"plan\.json cannot be used"):
            Plan.from_json({name: value for name, value in raw.items() if name != key})
    with pytest.raises(ModelError, match=r"plan\.json cannot be used"):
        Plan.from_json(raw | {"hook": "os.system"})


@pytest.mark.parametrize("value", [1, 2, 8192, 0.9, None, "gru", "cuda", True])
def test_a_config_that_is_not_the_requested_one_filled_in_is_refused(raw, value):
    for section, settings in raw["config"].items():
        for key, planned in settings.items():
            is_open = raw["requested"][section][key] in (None, "auto") and planned not in (None, "auto")
            if value == planned or is_open or key == "threads":
                continue
            config = raw["config"] | {section: settings | {key: value}}
            with pytest.raises(ModelError, match=r"plan\.json cannot be used"):
                Plan.from_json(raw | {"config": config})
    for section, key in [("model", "hidden_size"), ("training", "batch_size"), ("model", "dropout")]:
        config = raw["config"] | {section: raw["config"][section] | {key: None}}
        with pytest.raises(ModelError, match=r"plan\.json cannot be used"):
            Plan.from_json(raw | {"config": config})


def test_a_plan_beyond_what_a_model_or_its_text_may_be_is_refused(raw):
    plan = Plan.from_json(raw)
    check_fits(plan, vocab_size=300, num_tokens=8)
    with pytest.raises(ModelError, match="batches of 4"):
        check_fits(plan, vocab_size=300, num_tokens=7)
    huge = plan.config.model.model_copy(update={"hidden_size": 8192, "num_layers": 16})
    with pytest.raises(ModelError, match="parameters"):
        check_fits(
            Plan(**vars(plan) | {"config": plan.config.model_copy(update={"model": huge})}),
            vocab_size=300,
            num_tokens=8,
        )
