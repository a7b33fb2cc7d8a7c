import json

import pytest

from gru_complete.model.run_dir import RunDir
from gru_complete.training.curve import EvaluationPoint, read_curve


def stepped(step, loss):
    return {"event": "stepped", "step": step, "loss": loss}


def looked(step, bits):
    return {"event": "looked", "step": step, "tuning_bits_per_byte": bits, "seconds": step / 10}


def curve_of(tmp_path, *records):
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return read_curve(RunDir(tmp_path))


def test_losses_and_evaluations_are_those_of_the_log(tmp_path):
    curve = curve_of(tmp_path, stepped(10, 5.0), looked(12, 3.0), stepped(20, 4.0), looked(20, 2.5))
    assert curve.losses == {10: 5.0, 20: 4.0}
    assert curve.evaluations == [EvaluationPoint(12, 1.2, 3.0), EvaluationPoint(20, 2.0, 2.5)]


def test_steps_made_again_after_a_kill_replace_those_that_were_lost(tmp_path):
    curve = curve_of(tmp_path, stepped(10, 5.0), looked(12, 3.0), stepped(20, 4.0), looked(24, 2.5), looked(24, 2.4))
    assert [look.bits_per_byte for look in curve.evaluations] == [3.0, 2.4]
    curve = curve_of(
        tmp_path, stepped(10, 5.0), looked(12, 3.0), stepped(20, 4.0), stepped(30, 3.5), stepped(20, 4.1), looked(24, 2)
    )
    assert curve.losses == {10: 5.0, 20: 4.1}
    assert [look.step for look in curve.evaluations] == [12, 24]


def test_steps_before_a_rollback_are_left_out(tmp_path):
    back = {"event": "wentback", "step": 25, "to_step": 12, "rate_scale": 0.5}
    curve = curve_of(tmp_path, stepped(10, 5.0), looked(12, 3.0), stepped(20, 9.0), back, looked(24, 2.0))
    assert curve.losses == {10: 5.0}
    assert [look.step for look in curve.evaluations] == [12, 24]


@pytest.mark.parametrize("figure", ["NaN", "Infinity", "-Infinity", "1e999", '"no"', "null"])
def test_a_figure_that_is_none_is_left_out(tmp_path, figure):
    lines = [json.dumps(record) for record in (stepped(10, 5.0), looked(12, 3.0))]
    broken = [line.replace("3.0", figure).replace("5.0", figure).replace("1.2", figure) for line in lines]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, *(line.replace("1", "2", 1) for line in broken)]) + "\n")
    curve = read_curve(RunDir(tmp_path))
    assert (curve.losses, curve.evaluations) == ({10: 5.0}, [EvaluationPoint(12, 1.2, 3.0)])


def test_a_missing_log_gives_an_empty_curve_and_a_cut_line_is_ignored(tmp_path):
    assert (read_curve(RunDir(tmp_path)).losses, read_curve(RunDir(tmp_path)).evaluations) == ({}, [])
    (tmp_path / "metrics.jsonl").write_text(json.dumps(stepped(10, 5.0)) + '\n{"event": "loo')
    assert read_curve(RunDir(tmp_path)).losses == {10: 5.0}
