import json
import math

from gru_complete.cli.output import json_line
from gru_complete.evaluation.intervals import Interval


def test_numbers_that_json_lacks_become_null():
    record = {"a": math.nan, "b": [math.inf, {"c": -math.inf}], "d": Interval(0.5, -math.inf, math.inf), "e": 0.5}
    line = json_line(record)
    assert line == b'{"a": null, "b": [null, {"c": null}], "d": [0.5, null, null], "e": 0.5}\n'
    assert json.loads(line)["e"] == 0.5


def test_other_values_are_written_as_json_writes_them():
    record = {"text": "caf\u00e9 \u2581", "count": 10**400, "yes": True, "none": None, "list": [1, 2.5]}
    assert json_line(record).decode() == json.dumps(record) + "\n"
    assert json_line(record, is_ascii=False).decode() == json.dumps(record, ensure_ascii=False) + "\n"
    assert json_line(record, indent=2).decode() == json.dumps(record, indent=2) + "\n"


def test_a_file_name_that_is_not_utf8_is_escaped():
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    for is_ascii in (True, False):
        line = json_line({"file": name}, is_ascii=is_ascii)
        assert line == b'{"file": "caf\\udce9"}\n'
        assert json.loads(line)["file"] == name
