"""Only regular files, unambiguous JSON and values of the right kind are read."""

import errno
import os
import signal
from pathlib import Path

import pytest

from gru_complete.errors import EnvironmentFailure, ModelError
from gru_complete.storage import untrusted
from gru_complete.storage.untrusted import json_object, whole_number
from tests.storage.faulty_os import posix_only


def test_a_file_of_just_the_allowed_size_is_read_whole(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert untrusted.read_regular_file(tmp_path / "file", max_bytes=5) == b"12345"
    with pytest.raises(ModelError, match="larger than 4 bytes"):
        untrusted.read_regular_file(tmp_path / "file", max_bytes=4)
    (tmp_path / "empty").write_bytes(b"")
    assert untrusted.read_regular_file(tmp_path / "empty", max_bytes=0) == b""


@pytest.fixture
def five_seconds():
    """Ends a test that waits for a FIFO or a device."""
    previous = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it hangs"))
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


@posix_only
@pytest.mark.parametrize("kind", ["missing", "symbolic link", "fifo", "device", "directory", "socket-like"])
def test_only_regular_files_are_read(tmp_path, five_seconds, kind):
    path = tmp_path / "x\x1b[31m"
    if kind == "symbolic link":
        path.symlink_to("/etc/passwd")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "directory":
        path.mkdir()
    elif kind == "socket-like":
        path = Path("/dev/null")
    with pytest.raises(ModelError) as caught:
        untrusted.read_regular_file(path, max_bytes=100)
    assert "\x1b" not in str(caught.value)
    expected = {"missing": "is missing", "symbolic link": "is a symbolic link"}.get(kind, "is not a regular file")
    assert expected in str(caught.value)


@posix_only
def test_a_file_that_becomes_a_fifo_between_check_and_open_is_refused(tmp_path, five_seconds, monkeypatch):
    (tmp_path / "file").write_bytes(b"x")
    looks_regular = os.lstat(tmp_path / "file")
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setattr(os, "lstat", lambda path: looks_regular)
    with pytest.raises(ModelError, match="not a regular file"):
        untrusted.read_regular_file(tmp_path / "fifo", max_bytes=100)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[1]",
        b"{",
        b'{"a": 1} x',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b'{"a": "\xff"}',
        b'{"a": 1, "a": 1}',
        b'{"b": {"a": 1, "a": 2}}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
    ],
)
def test_what_parsers_disagree_about_is_refused(data):
    with pytest.raises(ModelError, match=r"^plan\\x1b is not"):
        untrusted.strict_json(data, name="plan\x1b")


def test_ordinary_json_is_read():
    assert untrusted.strict_json(b'{"a": [1, 2.5, null, true], "b": {"c": "\xc3\xa4"}}', name="plan") == {
        "a": [1, 2.5, None, True],
        "b": {"c": "ä"},
    }


def test_sha256_of_a_known_text():
    assert untrusted.sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("value", [True, 1.0, "1", None, 0, 11, -1, 2**70, [1]])
def test_a_whole_number_is_an_int_in_its_range(value):
    with pytest.raises(ModelError, match="steps is .*, not a whole number from 1 to 10"):
        whole_number(value, "steps", smallest=1, largest=10)


def test_an_object_has_its_keys_and_no_others():
    assert json_object({"a": 1, "b": 2}, "part", required=["a"], optional=["b"]) == {"a": 1, "b": 2}
    for value, problem in [({}, "has no 'a'"), ({"a": 1, "\x1b": 2}, r"unknown key '\\x1b'"), ([], "a list, not an")]:
        with pytest.raises(ModelError, match=problem):
            json_object(value, "part", required=["a"])


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.EMFILE, EnvironmentFailure),
        (errno.ENFILE, EnvironmentFailure),
        (errno.ENOMEM, EnvironmentFailure),
        (errno.EIO, ModelError),
    ],
)
def test_a_file_that_the_machine_has_no_room_to_open_is_not_called_damaged(tmp_path, monkeypatch, number, error):
    path = tmp_path / "file"
    path.write_bytes(b"text")

    def refuse(*_):
        raise OSError(number, "refused")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(error, match="cannot be read: refused"):
        untrusted.read_regular_file(path, max_bytes=10)
