"""The operating system, made to fail."""

import pytest

from gru_complete.storage import atomic, lock, os_calls, privacy
from tests.storage.faulty_os import FaultyOs


@pytest.fixture
def faulty(monkeypatch):
    def install(*args, **kwargs):
        calls = FaultyOs(*args, **kwargs)
        for module in (atomic, lock, os_calls, privacy):
            monkeypatch.setattr(module, "os_calls", calls)
        return calls

    yield install
    monkeypatch.undo()
