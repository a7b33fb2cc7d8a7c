"""How the texts of a base are joined to sources, and that a base comes out of them."""

import pytest

from gru_complete.base.__main__ import join_sources, main, sources
from gru_complete.errors import UsageError
from gru_complete.model.directory import load_model
from tests.conftest import FEW_SETTINGS_OF_A_BASE, small_text


@pytest.fixture
def folder(tmp_path):
    texts = tmp_path / "texts" / "train"
    for name in ("a/one.txt", "a/two.txt", "b/three.txt"):
        (texts / name).parent.mkdir(parents=True, exist_ok=True)
        (texts / name).write_text(name)
    (texts / "a/picture.png").write_bytes(b"x")
    return texts


def test_each_file_is_a_source(folder):
    assert [[path.name for path in paths] for paths in sources(folder).values()] == [
        ["one.txt"],
        ["two.txt"],
        ["three.txt"],
    ]


def test_files_of_one_source_are_joined(folder, tmp_path):
    rows = ["file\tkind\tsource", "train/a/one.txt\tx\tnovel@123:1", "train/b/three.txt\tx\tnovel@123:2"]
    (folder.parent / "SOURCES.tsv").write_text("\n".join(rows))
    (tmp_path / "joined").mkdir()
    join_sources(folder, tmp_path / "joined")
    texts = [path.read_text() for path in sorted((tmp_path / "joined").iterdir())]
    assert texts == ["a/one.txt\n\n\nb/three.txt", "a/two.txt"]


def test_a_folder_without_text_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no .txt file"):
        sources(tmp_path)


def test_a_base_is_trained_whose_phrases_stand_in_three_sources(tmp_path, monkeypatch):
    folder = tmp_path / "texts"
    folder.mkdir()
    for seed in range(4):
        (folder / f"{seed}.txt").write_text(small_text(100, seed=seed) + (" zebra zebra." * 9 if seed == 0 else ""))
    settings = [word for setting in FEW_SETTINGS_OF_A_BASE for word in ("--set", setting)]
    assert main([str(folder), str(tmp_path / "model"), "--quiet", *settings]) == 0
    model = load_model(tmp_path / "model")
    token = model.tokenizer.encode(b" zebra")[-1]
    ngrams = model.mixture.ngrams
    followers = ngrams.evidence(ngrams.advance(ngrams.empty_context(), token))
    assert followers.length == 0


def test_without_arguments_it_says_what_it_does(capsys):
    assert main([]) == 2
    assert "FOLDER MODEL" in capsys.readouterr().err
