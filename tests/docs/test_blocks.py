"""What a test of the documentation takes for a command block."""

import pytest

from tests.docs.blocks import Step, matches, read_blocks


def blocks_of(text, tmp_path):
    path = tmp_path / "page.md"
    path.write_text(text)
    return read_blocks(path)


def test_a_session_is_commands_with_their_output(tmp_path):
    text = "Words.\n\n    $ echo a\n    a\n\n    b\n    $ gru-complete x \\\n        -y\n\nMore.\n"
    (block,) = blocks_of(text, tmp_path)
    assert (block.line, block.marker) == (3, "")
    assert block.steps == [Step("echo a", ["a", "", "b"]), Step("gru-complete x -y", [])]


def test_commands_without_a_prompt_have_no_output(tmp_path):
    (block,) = blocks_of("    gru-complete a\n    gru-complete b \\\n        c\n    ^C\n", tmp_path)
    assert block.steps == [Step("gru-complete a", None), Step("gru-complete b c", None)]


def test_a_block_that_calls_no_command_is_none(tmp_path):
    assert blocks_of("    h' = u * c\n\n    a gru-completer\n", tmp_path) == []


@pytest.mark.parametrize(
    ("comment", "is_skipped", "is_slow", "varies"),
    [
        ("<!-- check: skip: needs your own files -->", True, False, False),
        ("<!-- check: slow -->", False, True, False),
        ("<!-- check: slow, varies -->", False, True, True),
        ("<!-- check: nothing known -->", False, False, False),
    ],
)
def test_a_comment_before_the_block_marks_it(tmp_path, comment, is_skipped, is_slow, varies):
    (block, after) = blocks_of(f"{comment}\n\n    $ gru-complete\n\nWords.\n\n    $ gru-complete\n", tmp_path)
    assert (block.is_skipped, block.is_slow, block.varies) == (is_skipped, is_slow, varies)
    assert after.marker == ""


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        (["a"], ["a"], True),
        (["a"], ["b"], False),
        (["a", "...", "d"], ["a", "b", "c", "d"], True),
        (["...", "d"], ["d"], True),
        (["a", "..."], ["a"], True),
        (["a", "..."], ["b", "a"], False),
        ([], [], True),
        ([], ["a"], False),
    ],
)
def test_three_dots_stand_for_any_lines(expected, printed, same):
    assert matches(expected, printed) is same
