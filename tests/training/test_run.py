import itertools
import os
import sys

import pytest

from gru_complete.cli.signals import StopNow
from gru_complete.config import load_config
from gru_complete.errors import (
    BusyError,
    CorpusError,
)
from gru_complete.model.directory import load_model
from gru_complete.model.home import find_model
from gru_complete.nn import kernel
from gru_complete.storage import atomic, lock
from gru_complete.training import events, run
from gru_complete.training.exclusive import exclusive_use
from gru_complete.training.run import run_training
from tests.training.runs import interrupt, of_type, train, weights_sha256


def test_a_training_reports_its_steps_and_leaves_a_model(request_for, tmp_path):
    seen = train(request_for())
    assert [event.step for event in of_type(seen, events.Stepped)] == list(range(1, 25))
    assert [event.step for event in of_type(seen, events.Evaluated)] == [6, 12, 18, 24]
    assert isinstance(seen[-1], events.Finished)
    model = load_model(tmp_path / "model")
    assert (model.manifest.arch.hidden_size, model.manifest.training["steps"]) == (24, 24)
    assert model.manifest.training["finished"] is True
    assert find_model(None) == tmp_path / "model"


def test_the_same_seed_gives_the_same_weights_and_another_seed_gives_others(request_for, tmp_path, tiny_overrides):
    for name in ("one", "two"):
        train(request_for(name))
    train(request_for("three", config=load_config(None, [*tiny_overrides, "training.seed=1"])))
    assert weights_sha256(tmp_path / "one") == weights_sha256(tmp_path / "two")
    assert weights_sha256(tmp_path / "one") != weights_sha256(tmp_path / "three")


def test_a_second_training_of_the_same_model_is_refused_while_the_first_runs(request_for):
    first = run_training(request_for(), stop_signal=lambda: None)
    next(first)
    with pytest.raises(BusyError, match="is in use"):
        train(request_for())
    first.close()


def test_a_corpus_that_cannot_be_used_leaves_nothing_behind(request_for, corpus_path, tmp_path):
    corpus_path.write_bytes(b"  \n")
    with pytest.raises(CorpusError):
        train(request_for())
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "home") == ["corpus.txt"]


def test_interrupting_a_replacement_leaves_the_finished_model_alone(request_for, tmp_path, tiny_overrides):
    train(request_for())
    before = weights_sha256(tmp_path / "model")
    other = request_for(replace=True, config=load_config(None, [*tiny_overrides, "training.seed=5"]))
    assert "can be used" not in str(interrupt(other, 5))
    assert weights_sha256(tmp_path / "model") == before
    train(other)
    assert weights_sha256(tmp_path / "model") != before


def test_a_home_that_cannot_be_written_does_not_undo_a_finished_training(request_for, monkeypatch, tmp_path):
    monkeypatch.setenv("GRU_COMPLETE_HOME", str(tmp_path / "corpus.txt" / "no"))
    seen = train(request_for())
    assert isinstance(seen[-1], events.Finished)
    assert "name the model with -m" in of_type(seen, events.Note)[-1].message


def test_a_signal_on_any_line_before_the_work_begins_leaves_nothing(tmp_path, request_for):
    """It may come between any two lines, which a tracer plays."""
    missing = request_for("m", sources=[str(tmp_path / "missing.txt")])
    functions = run_training, exclusive_use.__wrapped__, atomic.make_directory, lock.DirectoryLock.__enter__
    here = {function.__code__ for function in functions}
    for number in itertools.count():
        lines = itertools.count()
        has_begun = False

        def trace(frame, event, _, lines=lines, number=number):
            nonlocal has_begun
            has_begun = has_begun or frame.f_code is run._run_locked.__code__
            if frame.f_code not in here or has_begun:
                return None
            if event == "line" and next(lines) == number:
                sys.settrace(None)
                raise StopNow(2)
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            with pytest.raises((StopNow, CorpusError)):
                list(run_training(missing, stop_signal=lambda: None))
        finally:
            sys.settrace(before)
        assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]
        if has_begun:
            break
    assert number > 10


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
def test_a_compiler_that_hangs_is_named_once(request_for, tmp_path, monkeypatch):
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\nsleep 61\n")
    compiler.chmod(0o755)
    monkeypatch.delenv(kernel.SWITCH)
    monkeypatch.setenv("CC", str(compiler))
    monkeypatch.setattr(kernel, "COMPILE_SECONDS", 0.3)
    monkeypatch.setattr(kernel, "_hanging_compiler", None)
    kernel.disable()
    try:
        seen = train(request_for())
    finally:
        kernel.disable()
    assert [note.message for note in of_type(seen, events.Note) if "did not end within 0.3 s" in note.message] == [
        f"the C compiler {compiler} did not end within 0.3 s, without which training is slower"
    ]


def test_a_training_that_fails_early_stops_the_compiler_for_itself_alone(request_for, monkeypatch, tmp_path):
    stopped = []
    monkeypatch.setattr(kernel, "stop_compiling", lambda stop=kernel.stop_compiling: (stopped.append(True), stop()))

    def fail(*_, **__):
        raise CorpusError("it cannot be cut into tokens")

    monkeypatch.setattr(run, "tokenize_corpus", fail)
    with pytest.raises(CorpusError):
        train(request_for())
    assert stopped == [True]
    kernel.compile_library(["true"], tmp_path / "x.c", [], tmp_path / "x.so", threads=False)
