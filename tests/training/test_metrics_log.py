from gru_complete.errors import (
    EnvironmentFailure,
)
from gru_complete.storage import atomic
from gru_complete.training import events
from tests.training.runs import of_type, train


def test_a_log_that_cannot_be_written_does_not_stop_the_training(request_for, monkeypatch):
    def refuse(path, line):
        raise EnvironmentFailure("cannot write metrics.jsonl: no space left on device")

    monkeypatch.setattr(atomic, "append_line", refuse)
    seen = train(request_for())
    assert ["no more metrics.jsonl" in note.message for note in of_type(seen, events.Note)] == [True]
    assert isinstance(seen[-1], events.Finished)
