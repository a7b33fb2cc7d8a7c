"""Finds what is private in a text before a model learns it: keys, tokens, card numbers, addresses.

A model that has read a secret a few times can be made to say it (Carlini et al. 2019, arXiv:1802.08232). So a corpus is
scanned while it is read: in blocks, in bounded memory, in time that grows with the text only. What is found is counted
by kind and place; the value itself is kept nowhere, or, with ``redacts``, is replaced by ``[kind]``. What counts as a
secret is in ``secret_kinds``.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from gru_complete.text.decoding import printable_source
from gru_complete.text.secret_kinds import CONTEXT_BYTES, DETECTORS, KINDS, MAX_SECRET_BYTES

BLOCK_BYTES = 1 << 20
MAX_PLACES = 3
"""Places that are reported for each kind."""


class Secret(NamedTuple):
    """Where a secret is in a text.

    Attributes:
        start: its first byte.
        end: after its last byte.
        kind: one of ``KINDS``.
    """

    start: int
    end: int
    kind: str


@dataclass
class SecretOccurrences:
    """The secrets of one kind: how many, and where the first few are, as ``file:line``."""

    count: int = 0
    places: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SecretsReport:
    """The secrets of a corpus by kind, in the order of ``KINDS``; and whether they were replaced."""

    found: dict[str, SecretOccurrences]
    redacted: bool

    def counts(self) -> dict[str, int]:
        """The number of secrets of each kind."""
        return {kind: found.count for kind, found in self.found.items()}


class SecretScanner:
    """Scans documents that come block by block, and passes them on.

    Args:
        redacts: whether a secret is replaced by the name of its kind in brackets.
        block_bytes: how much is scanned at a time; it changes time and memory, not the result.
    """

    def __init__(self, *, redacts: bool, block_bytes: int = BLOCK_BYTES) -> None:
        self._redacts = redacts
        self._min_bytes = block_bytes + 2 * MAX_SECRET_BYTES
        self._found: dict[str, SecretOccurrences] = {}
        self._name = ""
        self._start_document()

    def feed(self, data: bytes, name: str) -> bytes:
        """Take the next block of a document.

        Args:
            data: UTF-8, whole characters.
            name: of the document, for the report.

        Returns:
            The part of the text, whole characters, that no later block can change.
        """
        self._name = name
        self._blocks.append(data)
        self._num_bytes += len(data)
        return self._pass_on(is_last=False) if self._num_bytes >= self._min_bytes else b""

    def end_document(self) -> bytes:
        """Return what is left of the document; the next block begins another."""
        rest = self._pass_on(is_last=True)
        self._start_document()
        return rest

    def report(self) -> SecretsReport:
        """Return what has been found so far."""
        return SecretsReport({kind: self._found[kind] for kind in KINDS if kind in self._found}, self._redacts)

    def _start_document(self) -> None:
        self._blocks: list[bytes] = []
        self._num_bytes = 0
        self._done = 0  # of these bytes, those that were passed on and are kept as context
        self._line = 1  # the line where the other bytes begin

    def _pass_on(self, *, is_last: bool) -> bytes:
        """Scan, report and return what can no longer be the beginning of a secret."""
        text = b"".join(self._blocks)
        start = self._done
        end = len(text) if is_last else len(text) - MAX_SECRET_BYTES
        secrets = [secret for secret in find_secrets(text, start) if secret.start < end]
        if secrets and secrets[-1].end > end:
            end = secrets.pop().start
        while end < len(text) and text[end] & 0xC0 == 0x80:
            end -= 1
        parts, position = [], start
        for secret in secrets:
            self._line += text.count(b"\n", position, secret.start)
            self._note(secret.kind)
            self._line += text.count(b"\n", secret.start, secret.end)
            parts += [text[position : secret.start], f"[{secret.kind}]".encode()]
            position = secret.end
        parts.append(text[position:end])
        self._line += text.count(b"\n", position, end)
        context = max(0, end - CONTEXT_BYTES)
        self._blocks = [text[context:]]
        self._num_bytes, self._done = len(text) - context, end - context
        return b"".join(parts) if self._redacts else text[start:end]

    def _note(self, kind: str) -> None:
        found = self._found.setdefault(kind, SecretOccurrences())
        found.count += 1
        place = f"{printable_source(self._name)}:{self._line}"
        if len(found.places) < MAX_PLACES and place not in found.places:
            found.places.append(place)


def find_secrets(text: bytes, start: int = 0) -> list[Secret]:
    """Find the secrets in a text.

    Args:
        text: UTF-8.
        start: where to start; secrets that begin before it are not returned.

    Returns:
        The secrets in order and without overlaps: of secrets that overlap, the one that begins first, or if they begin
        together the one of the more certain kind.
    """
    lower = text.lower()
    candidates = [
        (span[0], order, span[1], kind)
        for order, (kind, detector) in enumerate(DETECTORS)
        for span in detector(text, lower, start)
        if span[0] >= start
    ]
    secrets: list[Secret] = []
    for first, _, end, kind in sorted(candidates):
        if not secrets or first >= secrets[-1].end:
            secrets.append(Secret(first, end, kind))
    return secrets
