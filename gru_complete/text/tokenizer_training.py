"""Training a tokenizer: a bounded sample of the text goes to a child process, a SentencePiece model comes back."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import gru_complete
from gru_complete.errors import CorpusError, EnvironmentFailure, printable
from gru_complete.text.corpus import Range, read_blocks
from gru_complete.text.tokenizer_child import REFUSED_SAMPLE

_SAMPLE_PIECE_BYTES = 1 << 16
_CHILD = """
import sys
sys.path[:] = sys.argv[2:]
from gru_complete.text import tokenizer_child
sys.exit(tokenizer_child.main())
"""


def sample_blocks(path: Path, ranges: Sequence[Range], *, max_bytes: int) -> Iterator[bytes]:
    """Read at most ``max_bytes`` of the ranges of a spool, spread evenly, in their order.

    A short text is read whole, a longer one in stretches of 64 KiB at equal distances, cut at white space if there is
    any.
    """
    total = sum(end - start for start, end in ranges)
    if total <= max_bytes:
        for start, end in ranges:
            yield from read_blocks(path, start, end)
        return
    piece_bytes = min(_SAMPLE_PIECE_BYTES, max_bytes)
    num_pieces = max_bytes // piece_bytes
    wanted = (total * index // num_pieces for index in range(num_pieces))
    place, passed = next(wanted), 0
    for start, end in ranges:
        while place < passed + end - start:
            first = start + place - passed
            yield _whole_words(b"".join(read_blocks(path, first, min(first + piece_bytes, end))))
            place = next(wanted, total)
        passed += end - start


def _whole_words(data: bytes) -> bytes:
    """Drop the words that the ends of a stretch may have cut."""
    inner = re.search(rb"\s.*(?=\s)", data, re.DOTALL)
    return inner[0] if inner else data


def train_tokenizer(sample: Iterable[bytes], *, vocab_size: int) -> bytes:
    """Train a SentencePiece unigram model in a child process, which is killed if anything happens here.

    SentencePiece ignores Ctrl-C and may exhaust the memory; in a child process neither harms us. The sample goes
    through a pipe.

    Args:
        sample: the text to learn from.
        vocab_size: pieces besides the 256 bytes and the document end; fewer if the sample does not have as many.

    Returns:
        A model for ``Tokenizer``; the same for the same sample and size on every machine of one kind.

    Raises:
        CorpusError: SentencePiece cannot learn from the sample.
        EnvironmentFailure: the child was killed or could not run.
    """
    with _child(vocab_size) as process:
        try:
            model_bytes, complaint = _feed(process, sample)
        except BaseException:
            process.kill()
            process.wait()  # `with` does not, after Ctrl-C
            if process.stdin is not None:
                with suppress(BrokenPipeError):  # `with` would raise it instead
                    process.stdin.close()
            raise
    if process.returncode < 0:
        raise EnvironmentFailure(
            f"tokenizer training was killed (signal {-process.returncode}, likely memory)",
            hint="lower tokenizer.sample_bytes",
        )
    if process.returncode:
        reason = printable(complaint.decode("utf-8", "replace").strip().rpartition("\n")[2])[:200]
        if process.returncode == REFUSED_SAMPLE:
            raise CorpusError(f"no tokenizer can be made of this text: {reason}")
        raise EnvironmentFailure(f"tokenizer training failed: {reason}")
    return model_bytes


@contextmanager
def _child(vocab_size: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the child process; wait for its end when the block ends.

    It runs in an empty directory, isolated from the user's environment (``-I``), and imports from where this process
    does: whatever lies in the current directory or in a run directory that somebody else made is never executed.
    """
    package_parent = str(Path(gru_complete.__file__).resolve().parent.parent)
    import_path = [*filter(os.path.isabs, sys.path), package_parent]
    with ExitStack() as stack:
        try:
            empty = tempfile.TemporaryDirectory(prefix="gru-complete-", ignore_cleanup_errors=True)
            process = subprocess.Popen(
                [sys.executable, "-I", "-c", _CHILD, str(vocab_size), *import_path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=stack.enter_context(empty),
                start_new_session=True,  # Ctrl-C reaches us alone
            )
        except OSError as error:
            raise EnvironmentFailure(f"the tokenizer training cannot start: {error.strerror}") from error
        yield stack.enter_context(process)


def _feed(process: "subprocess.Popen[bytes]", blocks: Iterable[bytes]) -> tuple[bytes, bytes]:
    """Give a process its input and collect its output, waking now and then so that Ctrl-C works on every system.

    ``communicate`` with input and a timeout would not do: called again after the timeout, it sends nothing more.
    """
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # the child is dead, and its exit code says why
        for block in blocks:
            process.stdin.write(block)
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=0.2)
