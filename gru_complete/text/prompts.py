"""What people type or pipe in, read as a corpus is: the same encodings, line ends and letters, and the same refusals.

A prompt may end anywhere, also within a character. It may have several sources, such as a file and what was typed after
it; they are joined as by ``cat``.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from gru_complete.text.cleaning import cleaned
from gru_complete.text.decoding import DocumentReader
from gru_complete.text.normal_form import NormalForm, in_form, texts_in_form


class PromptSource(NamedTuple):
    """A part of a prompt.

    Attributes:
        reader: knows what messages call it.
        blocks: its bytes, UTF-8 as far as it is valid.
    """

    reader: DocumentReader
    blocks: Iterator[bytes]


def prompt_source(
    name: str, blocks: Iterable[bytes], *, what: str = "text", command: str | None = "gru-complete complete"
) -> PromptSource:
    """A part of a prompt, whose encoding is recognised when it is read.

    Args:
        name: as ``DocumentReader`` takes it.
        blocks: its bytes as they are.
        what: as ``DocumentReader`` takes it.
        command: likewise.
    """
    recoding, reading = (DocumentReader(name, what=what, command=command, may_end_anywhere=True) for _ in range(2))
    return PromptSource(reading, recoding.utf8(iter(blocks)))


def read_prompt(
    sources: Iterable[PromptSource], normal_form: NormalForm | None, *, unfinished: bytes = b""
) -> Iterator[bytes]:
    """The text of a prompt as the model has learnt text, UTF-8 in blocks.

    Args:
        sources: its parts.
        normal_form: of the corpus.
        unfinished: what was read before may end with these first bytes of a character.

    Raises:
        CorpusError: the prompt is not text.
    """
    sources = iter(sources)
    if unfinished and (first := next(sources, None)) is not None:
        rest, blocks = _split_character(unfinished, first.blocks)
        yield rest
        sources = chain([first._replace(blocks=blocks)], sources)
    for text in texts_in_form(_joined(sources), normal_form):
        yield text.encode("utf-8", "surrogateescape")


def read_whole_prompt(data: bytes, normal_form: NormalForm | None, *, what: str, unfinished: bytes = b"") -> bytes:
    """A short prompt as the model has learnt text.

    Args:
        data: the prompt.
        normal_form: of the corpus.
        what: what messages call the prompt.
        unfinished: as ``read_prompt`` takes it.

    Raises:
        CorpusError: the prompt is not text.
    """
    source = prompt_source("", [data], what=what, command=None)
    return b"".join(read_prompt([source], normal_form, unfinished=unfinished))


def read_typed(data: bytes, normal_form: NormalForm | None) -> bytes:
    """A text that is being typed as the model has learnt text; bytes that are no UTF-8 remain as they are."""
    text = data.decode("utf-8", "surrogateescape")
    return in_form(cleaned(text), normal_form).encode("utf-8", "surrogateescape")


def _joined(sources: Iterable[PromptSource]) -> Iterator[str]:
    """The clean text of all sources; the bytes of an unfinished character at the end are surrogates."""
    unfinished = b""
    for reader, blocks in sources:
        yield from reader.texts(chain([unfinished], blocks) if unfinished else blocks)
        unfinished = reader.unfinished
    if unfinished:
        yield unfinished.decode("utf-8", "surrogateescape")


def _split_character(unfinished: bytes, blocks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The bytes at the beginning of a text that finish a character begun before it, and the others."""
    num_bytes = 2 if unfinished[0] < 0xE0 else 3 if unfinished[0] < 0xF0 else 4
    block = next(blocks, b"")
    end = 0
    while end < min(len(block), num_bytes - len(unfinished)) and block[end] & 0xC0 == 0x80:
        end += 1
    return block[:end], chain([block[end:]], blocks)
