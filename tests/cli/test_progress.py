from gru_complete.cli.console import Console
from gru_complete.cli.progress import bytes_bar, recall_bar, show_recall, work_bar
from gru_complete.comparison.recall import RecallStep


def test_off_a_terminal_there_is_no_bar(capfd, tmp_path):
    with work_bar(Console(), "summing", 10) as progress:
        assert progress is None
    with bytes_bar(Console(), "checking", [str(tmp_path)]) as bar:
        assert bar is None
    assert capfd.readouterr().err == ""


def test_work_is_counted_up_to_its_total(monkeypatch, capfd):
    monkeypatch.setattr(Console, "is_animated", True)
    with work_bar(Console(), "summing", 4) as progress:
        progress(1)
        progress(3)
    assert "summing:   0% |" in capfd.readouterr().err


def test_the_size_of_all_files_is_known_or_none_is(monkeypatch, tmp_path):
    monkeypatch.setattr(Console, "is_animated", True)
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"de")
    names = [str(tmp_path / "a"), str(tmp_path / "b")]
    with bytes_bar(Console(), "checking", names) as bar:
        assert bar.total == 5
    for unknown in ("-", str(tmp_path / "none")):
        with bytes_bar(Console(), "checking", [*names, unknown]) as bar:
            assert bar.total is None


def test_the_bar_of_recall_does_not_pass_its_end():
    bar = recall_bar("gru", 10.0)
    show_recall(bar, RecallStep(1, 20, 0.5, 4.0), 10.0)
    assert (bar.n, bar.postfix) == (4.0, "length 20, 50% right")
    show_recall(bar, RecallStep(2, 40, 0.5, 12.0), 10.0)
    assert bar.n == 10.0
    bar.close()
