import os
import sys

import pytest

from gru_complete.search_paths import leave_out_current_directory, leave_out_relative_programs


@pytest.mark.parametrize("first", ["", ".", "HERE", "LINK", "HERE/."])
def test_the_current_directory_is_taken_off_the_path(tmp_path, monkeypatch, first):
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to("here")
    monkeypatch.chdir(tmp_path / "here")
    entry = first.replace("HERE", str(tmp_path / "here")).replace("LINK", str(tmp_path / "link"))
    monkeypatch.setattr(sys, "path", [entry, "/elsewhere", str(tmp_path / "here")])
    leave_out_current_directory()
    assert sys.path == ["/elsewhere", str(tmp_path / "here")]  # the second one is what PYTHONPATH says


@pytest.mark.parametrize("first", ["/", "/nonexistent", "/nonexistent.zip"])
def test_other_places_stay(tmp_path, monkeypatch, first):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [first])
    leave_out_current_directory()
    assert sys.path == [first]


def test_a_current_directory_that_is_gone_does_no_harm(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    os.rmdir(tmp_path / "gone")
    monkeypatch.setattr(sys, "path", ["", "/elsewhere"])
    leave_out_current_directory()
    assert "/elsewhere" in sys.path


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (".:/bin", "/bin"),
        (":/bin", "/bin"),
        ("/bin:", "/bin"),
        ("/bin::/usr/bin", "/bin:/usr/bin"),
        ("a:./b:../c:/bin", "/bin"),
        (".", os.defpath),
        ("", os.defpath),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="the names are POSIX's")
def test_programs_are_not_looked_for_in_relative_places(monkeypatch, before, after):
    monkeypatch.setenv("PATH", before)
    leave_out_relative_programs()
    assert os.environ["PATH"] == after


def test_no_search_path_stays_none(monkeypatch):
    monkeypatch.delenv("PATH")
    leave_out_relative_programs()
    assert "PATH" not in os.environ
