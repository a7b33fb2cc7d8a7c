import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gru_complete.runtime.characters import CharacterMasks, continues, is_complete, unfinished

PIECES = [b"", *(bytes([byte]) for byte in range(256)), b"the", "né".encode(), b"\r\n", "a\x85".encode()]


@pytest.fixture(scope="module")
def masks():
    return CharacterMasks(PIECES)


def allowed(masks, pending=b""):
    return {PIECES[token] for token in np.flatnonzero(masks.after(pending) == 0)}


def allowed_bytes(masks, pending):
    return {piece[0] for piece in allowed(masks, pending)}


def test_between_characters_whole_pieces_first_bytes_and_the_document_end_may_come(masks):
    ascii_text = {bytes([byte]) for byte in [9, 10, *range(0x20, 0x7F)]}
    first_bytes = {bytes([byte]) for byte in range(0xC2, 0xF5)}
    assert allowed(masks) == {b"", b"the", "né".encode()} | ascii_text | first_bytes


def test_tokens_that_are_not_allowed_are_impossible(masks):
    assert set(masks.after(b"").tolist()) == {0.0, -np.inf}


@pytest.mark.parametrize(
    ("pending", "low", "high"),
    [
        (b"\xc2", 0xA0, 0xBF),
        (b"\xc3", 0x80, 0xBF),
        (b"\xe0", 0xA0, 0xBF),
        (b"\xe1", 0x80, 0xBF),
        (b"\xed", 0x80, 0x9F),
        (b"\xf0", 0x90, 0xBF),
        (b"\xf1", 0x80, 0xBF),
        (b"\xf4", 0x80, 0x8F),
        (b"\xe0\xa0", 0x80, 0xBF),
        (b"\xf0\x90", 0x80, 0xBF),
        (b"\xf4\x8f\xbf", 0x80, 0xBF),
    ],
)
def test_inside_a_character_only_the_bytes_that_continue_it_may_come(masks, pending, low, high):
    assert allowed_bytes(masks, pending) == set(range(low, high + 1))


@given(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("\t\n"))
def test_every_character_can_be_written_byte_by_byte(character):
    masks = CharacterMasks(PIECES)
    encoded = character.encode()
    for index, byte in enumerate(encoded):
        assert byte in allowed_bytes(masks, encoded[:index]) - {None} if index else bytes([byte]) in allowed(masks)
        assert is_complete(encoded[: index + 1]) == (index + 1 == len(encoded))


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=40))
def test_any_walk_along_the_masks_is_text(walk):
    masks = CharacterMasks(PIECES)
    text = pending = b""
    for fraction in walk:
        tokens = np.flatnonzero(masks.after(pending) == 0)
        pending += PIECES[tokens[int(fraction * len(tokens))]]
        if pending and is_complete(pending):
            text += pending
            pending = b""
    assert all(character in "\t\n" or not 0 <= ord(character) < 0x20 for character in text.decode())
    assert not any(0x7F <= ord(character) < 0xA0 for character in text.decode())


def test_a_vocabulary_without_byte_pieces_needs_none():
    masks = CharacterMasks([b"", b"a", b"\x1b["])
    assert masks.after(b"").tolist() == [0, 0, -np.inf]


CHARACTERS = st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("\t\n")


@given(st.text(max_size=3).map(str.encode), CHARACTERS.map(str.encode), st.text(CHARACTERS, max_size=2).map(str.encode))
def test_a_character_is_unfinished_until_its_last_byte(before, character, after):
    for size in range(1, len(character)):
        begun = character[:size]
        assert unfinished(before + begun) == begun
        assert continues(begun, character[size:] + after)
        assert continues(begun, character[size : size + 1])
        assert not continues(begun, b"a")
    assert unfinished(before + character) == b""


@pytest.mark.parametrize(
    "text", [b"", b"\x80", b"\xff", b"\xc0", b"\xe0\x80", b"\xc2\x80", b"\xe4\xbd\xa0\xa0", b"\xe4a"]
)
def test_bytes_that_begin_no_character_are_not_unfinished(text):
    assert unfinished(text) == b""


@pytest.mark.parametrize(
    ("pending", "text"), [(b"\xc2", b"\x80"), (b"\xe0", b"\x80"), (b"", b"\x1b"), (b"\xc3", b"\xa9\x07")]
)
def test_neither_control_characters_nor_overlong_ones_are_text(pending, text):
    assert not continues(pending, text)
