import json

import numpy as np
import pytest

from gru_complete.inspection.probes import Unit
from gru_complete.inspection.record import Inspection, describe_saturation
from gru_complete.inspection.trace import Saturation, Trace, trace_text
from gru_complete.model.directory import load_model


def saturation(below, above, num_values=4):
    return Saturation(0, "update", 0.5, below, above, num_values)


def test_whether_gates_are_mostly_near_0_or_1_is_said_with_the_share():
    text = describe_saturation([saturation(0.5, 0.25)])
    assert text == "Most gate values are near 0 or 1 here: 75.0% are below 0.1 or above 0.9."
    text = describe_saturation([saturation(0.5, 0.0)])
    assert text.startswith("Gate values are not mostly near 0 or 1")
    text = describe_saturation([saturation(1.0, 0.0, 1), saturation(0.0, 0.0, 3)])
    assert "25.0%" in text
    assert "no gates" in describe_saturation([])


def test_units_that_follow_a_feature_come_before_those_that_vary_most():
    gates = np.zeros((3, 1, 1, 5))
    gates[:, 0, 0, 4] = [0, 1, 0]
    trace = Trace("gru-simple", [b"a", b"b", b"c"], np.ones(3), gates, np.zeros((4, 1, 1, 5)))
    first, second = [Unit(0, False, 2), Unit(0, False, 0)], [Unit(0, False, 2), Unit(0, False, 1)]
    inspection = Inspection.from_trace("m", b"abc", trace, [("digits", first), ("quotes", second)], 4)
    assert inspection.units == [[2, 0, 1, 4]]
    assert inspection.follows == {(0, 2): "digits"}


def test_the_record_is_json_with_layers_from_one(trained_model):
    model = load_model(trained_model)
    read = trace_text(model, b"The cat ate")
    record = json.loads(json.dumps(Inspection("tiny", b"The cat ate", read, [[3, 1]]).to_json(), allow_nan=False))
    assert "".join(token["text"] for token in record["tokens"]) == "The cat ate"
    assert [(unit["layer"], unit["unit"]) for unit in record["units"]] == [(1, 3), (1, 1)]
    values = record["units"][0]["gates"]["update"]
    assert values == pytest.approx(read.gates[:, 0, 0, 3].tolist(), abs=1e-4)
    first = record["tokens"][0]
    assert first["gates"]["reset"] == pytest.approx([read.gates[0, 0, 1].mean()], abs=1e-4)
    assert len(first["switched"]) == 3
    assert len(record["half_lives"][0]) == read.hidden_size
