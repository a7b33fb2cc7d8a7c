from types import SimpleNamespace

import pytest

from gru_complete.cli.answers import Request, answer
from gru_complete.cli.prompts import text_sources
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.options import CompletionOptions


@pytest.mark.parametrize("beam", [0, 2])
def test_what_may_come_first_is_predicted_once(trained_model, monkeypatch, beam):
    completer = Completer.load(trained_model)
    predicted, written = [], []
    first_tokens = Completer.first_tokens

    def counted(self, *arguments):
        predicted.append(arguments)
        return first_tokens(self, *arguments)

    monkeypatch.setattr(Completer, "first_tokens", counted)
    console = SimpleNamespace(write=written.append, is_animated=False)
    request = Request(CompletionOptions(beam=beam), 1, 0, False, False, False, "model")
    assert answer(console, completer, request, None, text_sources("The cat", None), state_out=None, end=b"\n")
    assert written[-1] == b"\n"
    assert len(predicted) == 1
