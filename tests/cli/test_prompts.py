import pytest

from gru_complete.cli.prompts import file_blocks, split_lines, text_to_edit, without_final_newline
from gru_complete.errors import CorpusError


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines_do_not_depend_on_the_blocks_they_come_in(size):
    text = b"a\n\nbc\r\nd\r"
    blocks = [text[start : start + size] for start in range(0, len(text), size)]
    assert list(split_lines(blocks, b"\n")) == [b"a", b"", b"bc", b"d\r"]
    assert b"".join(without_final_newline([*blocks, b"\n", b"\n"])) == text + b"\n"
    assert b"".join(without_final_newline([*blocks, b"\n"])) == text.removesuffix(b"\r")
    assert b"".join(without_final_newline(blocks)) == text


def test_a_file_is_read_in_blocks_and_a_missing_one_is_named(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    blocks = list(file_blocks(tmp_path / "a"))
    assert len(blocks) > 1
    assert b"".join(blocks) == b"x" * 100_000
    with pytest.raises(CorpusError, match="none': no such file"):
        list(file_blocks(tmp_path / "none"))


def test_a_prompt_is_edited_and_a_file_is_not(tmp_path):
    assert text_to_edit("The cat", None) == b"The cat"
    assert text_to_edit("The cat", tmp_path / "a") == b"The cat"
    assert text_to_edit(None, tmp_path / "a") == b""
