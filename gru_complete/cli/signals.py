"""Ctrl-C and its relatives while training: before the first step they end the command, later they ask it to save.

A second signal ends the process at once; checkpoints are written so that this loses only the unsaved steps.
"""

import os
import signal
from types import FrameType, TracebackType

from gru_complete.errors import InterruptedRun

WATCHED = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class StopNow(BaseException):
    """Raised by the handler, wherever the work is; the code around the ``StopSignals`` block turns it into an error.

    It is no ``Exception`` because torch and others swallow those while they are imported.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number

    def as_error(self, message: str = "interrupted", *, hint: str | None = None) -> InterruptedRun:
        """The error that ends the command with the exit code of the signal."""
        return InterruptedRun(message, signal_number=self.signal_number, hint=hint)


class StopSignals:
    """Collects the first stop signal while its block runs; raises ``StopNow`` unless ``is_saving_possible``.

    A signal that the process was started to ignore (nohup, a background job of a script) stays ignored.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.is_saving_possible = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopSignals":
        """Install the handlers."""
        for number in WATCHED:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the old handlers back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(128 + number)
        self.received = number
        if not self.is_saving_possible:
            raise StopNow(number)
