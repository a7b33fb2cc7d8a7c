"""A directory that somebody else may have made is closed to others, or refused."""

import os
import stat

import pytest

from gru_complete.errors import ModelError
from gru_complete.storage import privacy
from tests.storage.faulty_os import old_directory, old_file, plant, posix_only, read

pytestmark = posix_only


def modes(directory):
    return {path.name: stat.S_IMODE(path.lstat().st_mode) for path in (directory, *directory.rglob("*"))}


@pytest.mark.parametrize("mode", [0o777, 0o755, 0o750, 0o2775, 0o700])
def test_a_directory_and_all_in_it_is_closed_to_others(tmp_path, mode):
    inner = tmp_path / "run" / "inner"
    inner.mkdir(parents=True)
    old_file(inner / "text")
    for path in (inner / "text", inner, tmp_path / "run"):
        path.chmod(mode)
    privacy.secure_directory(tmp_path / "run")
    assert set(modes(tmp_path / "run").values()) == {mode & ~0o077}


def test_it_says_whether_others_had_access(tmp_path):
    old_file(tmp_path / "text")
    (tmp_path / "text").chmod(0o644)
    assert privacy.close_to_others(tmp_path / "text")
    assert not privacy.close_to_others(tmp_path / "text")


def test_a_file_system_without_permissions_is_tolerated(tmp_path, faulty):
    old_directory(tmp_path / "run")
    (tmp_path / "run").chmod(0o755)
    faulty(0, "EPERM", persistent=True)
    assert not privacy.close_to_others(tmp_path / "run")
    privacy.secure_directory(tmp_path / "run")


@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "fifo", "socket", "device"])
@pytest.mark.parametrize("place", ["a", "inner/a", "inner/inner/a"])
def test_whatever_leads_elsewhere_is_refused_and_not_touched(tmp_path, kind, place):
    old_file(tmp_path / "victim")
    (tmp_path / "victim").chmod(0o644)
    path = tmp_path / "run" / place
    path.parent.mkdir(parents=True)
    plant(kind, path, tmp_path / "victim")
    before = os.lstat(path)
    with pytest.raises(ModelError, match=r"cannot use .*/a: it is (a symbolic link|a file with another|not a regular)"):
        privacy.secure_directory(tmp_path / "run")
    assert os.lstat(path).st_mode == before.st_mode
    assert (read(tmp_path / "victim"), modes(tmp_path)["victim"]) == (b"old", 0o644)
