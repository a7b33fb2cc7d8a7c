import json

from gru_complete.comparison.figure_cache import FigureCache


def test_figures_are_measured_once_for_each_key(tmp_path):
    path = tmp_path / "gru.figures.json"
    calls = []

    def measure(value):
        def call():
            calls.append(value)
            return {"bits": value}

        return call

    assert FigureCache(path).get("text", "a") is None
    assert FigureCache(path).get_or_measure("text", "a", measure(1.0)) == {"bits": 1.0}
    assert FigureCache(path).get_or_measure("text", "a", measure(2.0)) == {"bits": 1.0}
    assert FigureCache(path).get_or_measure("text", "b", measure(3.0)) == {"bits": 3.0}
    assert calls == [1.0, 3.0]
    assert json.loads(path.read_text()) == {"text": {"key": "b", "figures": {"bits": 3.0}}}


def test_a_damaged_cache_counts_as_empty(tmp_path):
    path = tmp_path / "gru.figures.json"
    path.write_text("{")
    assert FigureCache(path).get("text", "a") is None
    path.write_text('{"text": 3}')
    assert FigureCache(path).get("text", "a") is None
