"""Refusing a SentencePiece model that is damaged or not of the kind that this package trains."""

from collections.abc import Iterator

import numpy as np

from gru_complete.errors import ModelError

FIRST_PIECE = 257
MAX_PIECES = 70_000
MAX_PIECE_CHARS = 64

_BYTE_NAMES = [f"<0x{value:02X}>" for value in range(256)]


def checked_piece_names(model_bytes: bytes) -> list[str]:
    """Read the piece names of a ``sentencepiece.ModelProto``, and refuse all that ``train_tokenizer`` never writes.

    SentencePiece checks less (a normaliser's character map is a program of its own), so it sees the bytes only after
    this. Field numbers are those of sentencepiece_model.proto.

    Raises:
        ModelError: the model is damaged, or of another kind.
    """
    pieces, rest = _leading_pieces(model_bytes)
    specs: dict[int, dict[int, int | bytes]] = {}
    try:
        for number, value in _fields(rest):
            if number == 1 and isinstance(value, bytes) and len(pieces) < MAX_PIECES:
                pieces.append(value)
            elif number in (2, 3) and number not in specs:
                specs[number] = _message(value)
            else:
                raise ValueError(f"field {number} is not expected")
        _check_trainer(specs.get(2, {}))
        _check_normalizer(specs.get(3, {}))
        return _checked_names(pieces)
    except ValueError as error:
        raise ModelError(f"the tokenizer model is damaged or not ours: {error}") from None


def _leading_pieces(data: bytes) -> tuple[list[bytes], bytes]:
    """The short fields of number 1 at the beginning, and the rest: what ``_fields`` gives, in a third of the time."""
    pieces: list[bytes] = []
    position = 0
    while position + 1 < len(data) and data[position] == 0x0A and (size := data[position + 1]) < 0x80:
        end = position + 2 + size
        if end > len(data) or len(pieces) == MAX_PIECES:
            break
        pieces.append(data[position + 2 : end])
        position = end
    return pieces, data[position:]


def _check_trainer(fields: dict[int, int | bytes]) -> None:
    """The trainer's settings that decide how text is encoded."""
    _require(fields.get(3) == 1, "it is a unigram model")
    _require(fields.get(24, 0) == 0, "white space comes before the word")
    _require(fields.get(35) == 1, "it falls back to bytes")


def _check_normalizer(fields: dict[int, int | bytes]) -> None:
    """A normaliser that changes nothing, so that decoding is exact."""
    _require(fields.get(1) == b"identity" and fields.get(2, b"") == b"", "the normaliser changes nothing")
    _require(fields.get(3) == 0, "it adds no space")
    _require(fields.get(4) == 0, "it removes no space")
    _require(fields.get(5, 1) == 1 and not set(fields) - {1, 2, 3, 4, 5}, "it does nothing but mark spaces")


def _checked_names(pieces: list[bytes]) -> list[str]:
    """The names in pieces, each serialised as a name, a score and, unless it is a normal piece, a kind."""
    names, scores, kinds = [], [], []
    for piece in pieces:
        end = 2 + piece[1] if len(piece) > 1 else 2
        _require(piece[:1] == b"\x0a" and piece[end : end + 1] == b"\x15", "a piece has a name and a score")
        names.append(piece[2:end].decode("utf-8"))
        scores.append(piece[end + 1 : end + 5])
        kinds.append(piece[end + 5 :])
    _require(
        kinds == [b"\x18\x02", *[b"\x18\x06"] * 256, *[b""] * (len(pieces) - FIRST_PIECE)], "normal pieces follow bytes"
    )
    _require(names[1:FIRST_PIECE] == _BYTE_NAMES, "the bytes are in order")
    _require(len(set(names)) == len(names), "no piece occurs twice")
    lengths = set(map(len, names))
    _require(min(lengths) > 0 and max(lengths) <= MAX_PIECE_CHARS, "a piece is neither empty nor too long")
    _require(not set("".join(names)) & set("\0\t "), "a piece has no NUL and writes spaces and tabs as marks")
    _require(bool(np.isfinite(np.frombuffer(b"".join(scores), "<f4")).all()), "scores are finite")
    return names


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise ValueError(f"this does not hold: {rule}")


def _message(data: int | bytes) -> dict[int, int | bytes]:
    """The fields of a message in which none repeats."""
    if isinstance(data, int):
        raise ValueError("a number where a message should be")
    fields: dict[int, int | bytes] = {}
    for number, value in _fields(data):
        if number in fields:
            raise ValueError(f"field {number} occurs twice")
        fields[number] = value
    return fields


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of a protobuf message: a number for a varint, else the bytes."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        if tag & 7 == 0:
            number, position = _varint(data, position)
            yield tag >> 3, number
            continue
        if tag & 7 == 2:
            size, position = _varint(data, position)
        elif tag & 7 in (1, 5):
            size = 8 if tag & 7 == 1 else 4
        else:
            raise ValueError(f"wire type {tag & 7} is not expected")
        if size > len(data) - position:
            raise ValueError("it is cut off")
        yield tag >> 3, data[position : position + size]
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and where the next field begins."""
    if position < len(data) and data[position] < 0x80:  # nearly all are a single byte
        return data[position], position + 1
    number = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise ValueError("it is cut off")
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise ValueError("a number is too long")
