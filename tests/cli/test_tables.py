"""What the tables say where a whole command would take long to get there."""

import io
import math

import pytest
from rich.console import Console as RichConsole

from gru_complete.cli import tables
from gru_complete.comparison.results import CellResult
from gru_complete.evaluation.intervals import Interval


def lines_of(table):
    rich = RichConsole(file=io.StringIO(), width=120)
    rich.print(table)
    return [line.split() for line in rich.file.getvalue().splitlines()]


def test_an_interval_is_shown_only_where_it_is_known():
    assert tables.with_interval(Interval(0.25, 0.2, 0.3), factor=100, digits=1) == "25.0 (20.0..30.0)"
    assert tables.with_interval(Interval(2.5, -math.inf, math.inf), factor=1, digits=2) == "2.50"


def test_a_damaged_model_and_one_in_training_are_marked_in_the_list():
    records = [
        {"name": "bro\x1bken", "bytes": 1_000_000, "problem": "the weights are damaged", "default": False},
        {"name": "new", "cell": "gru", "num_parameters": 1234, "bits_per_byte": None, "bytes": 2e6, "finished": False,
         "default": True, "num_training_bytes": 61_499},
        {"name": "old", "cell": "lstm", "num_parameters": 5, "bits_per_byte": 1.5, "bytes": 3e6, "finished": True,
         "default": False, "num_training_bytes": 2_400_000},
    ]  # fmt: skip
    lines = lines_of(tables.ModelsTable(records))
    assert ["bro\\x1bken", "damaged", "1.0"] in lines
    assert ["new", "default,", "unfinished", "61", "kB", "gru", "1,234", "2.0"] in lines
    assert ["old", "2.4", "MB", "1.500", "lstm", "5", "3.0"] in lines


def test_a_cell_that_diverged_has_its_sizes_only():
    pairs = {"by_distance": {"1-5": {"accuracy": 0.75}}, "accuracy": 0.75, "far": None}
    results = [
        CellResult("gru", 24, 1000, 500, steps=10, bits_per_byte=2.0, pairs=pairs),
        CellResult("rnn", 48, 900, 400, diverged="the loss was not finite"),
    ]
    lines = lines_of(tables.comparison_table(results))
    assert ["width", "24", "48"] in lines
    assert ["of", "the", "cells", "500", "400"] in lines
    assert ["bits", "per", "byte", "2.0000", "diverged"] in lines
    assert ["pairs", "right,", "%", "75.0", "diverged"] in lines
    assert ["distance", "1-5", "words", "75.0", "diverged"] in lines
    assert ["training,", "tokens/s", "diverged"] in lines  # an unknown speed is left out


@pytest.mark.parametrize(("chrono_length", "name"), [(None, "gru"), (201, "gru, chrono")])
def test_recall_is_shown_beside_chance(chrono_length, name):
    from gru_complete.comparison.recall import RecallResult

    result = RecallResult(Interval(0.5, 0.4, 0.6), 0.125, 120, 3000, 61.2)
    lines = lines_of(tables.recall_table("copy", 200, [({"cell": "gru", "chrono_length": chrono_length}, result)]))
    assert [*name.split(), "50.0", "(40.0..60.0)", "12.5", "120", "3,000", "61"] in lines
