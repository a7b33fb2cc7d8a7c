import random

import pytest

from gru_complete.errors import ModelError
from gru_complete.text import tokenizer as tokenizer_module
from gru_complete.text.tokenizer import DOCUMENT_END, Tokenizer
from tests.text.samples import TEXTS


def test_the_tokenizer_of_a_stranger_may_not_do_anything_else(model_bytes):
    def piece(name, rest=b"\x15\0\0\0\0"):
        body = b"\x0a" + bytes([len(name)]) + name + rest
        return b"\x0a" + bytes([len(body)]) + body

    normalizer = b"\x1a\x10\x0a\x08identity\x12\x00\x18\x00\x20\x00"
    assert normalizer in model_bytes
    changed = {
        "empty": b"",
        "no pieces": normalizer,
        "cut off": model_bytes[:-1],
        "more": model_bytes + b"\0",
        "self test data": model_bytes + b"\x22\x00",
        "denormalizer": model_bytes + b"\x2a\x00",
        "second normalizer": model_bytes + normalizer,
        "group": model_bytes + b"\x0b\x0c",
        "endless number": model_bytes + b"\x80" * 11,
        "number for a message": model_bytes.replace(normalizer, b"\x18\x01"),
        "no normalizer": model_bytes.replace(normalizer, b""),
        "nfkc": model_bytes.replace(normalizer, b"\x1a\x0c\x0a\x04nfkc\x12\x00\x18\x00\x20\x00"),
        "character map": model_bytes.replace(normalizer, b"\x1a\x12\x0a\x08identity\x12\x02xy\x18\x00\x20\x00"),
        "dummy prefix": model_bytes.replace(normalizer, normalizer[:-3] + b"\x01\x20\x00"),
        "fewer spaces": model_bytes.replace(normalizer, normalizer[:-1] + b"\x01"),
        "rules": model_bytes.replace(normalizer, b"\x1a\x13" + normalizer[2:] + b"\x32\x01x"),
        "field twice": model_bytes.replace(normalizer, b"\x1a\x12" + normalizer[2:] + b"\x20\x00"),
        "bpe": model_bytes.replace(b"\x18\x01\x20", b"\x18\x02\x20"),
        "no byte fallback": model_bytes.replace(b"\x98\x02\x01", b"\x98\x02\x00"),
        "byte out of order": model_bytes.replace(b"<0x41>", b"<0x42>"),
        "user-defined piece": piece(b"new", b"\x15\0\0\0\0\x18\x04") + model_bytes,
        "appended user-defined piece": model_bytes + piece(b"new", b"\x15\0\0\0\0\x18\x04"),
        "control piece": model_bytes + piece(b"new", b"\x15\0\0\0\0\x18\x03"),
        "NUL piece": model_bytes + piece(b"a\0b"),
        "space in a piece": model_bytes + piece(b"a b"),
        "empty piece": model_bytes + piece(b""),
        "long piece": model_bytes + piece(b"a" * 65),
        "piece twice": model_bytes + piece("▁Watson".encode()),
        "no UTF-8": model_bytes + piece(b"\xff"),
        "NaN score": model_bytes + piece(b"new", b"\x15\0\0\xc0\x7f"),
        "infinite score": model_bytes + piece(b"new", b"\x15\0\0\x80\x7f"),
        "short score": model_bytes + piece(b"new", b"\x15\0\0"),
        "too many": model_bytes + piece(b"new") * 70_000,
        "pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    }
    for name, data in changed.items():
        assert data != model_bytes, name
        with pytest.raises(ModelError, match="tokenizer model"):
            Tokenizer(data)
    assert Tokenizer(model_bytes + piece(b"new")).pieces[-1] == b"new"


def test_what_sentencepiece_refuses_or_changes_is_refused(model_bytes, monkeypatch):
    processor = tokenizer_module.sentencepiece.SentencePieceProcessor
    monkeypatch.setattr(processor, "IdToPiece", lambda *_: "x")
    with pytest.raises(ModelError, match="not what they seem"):
        Tokenizer(model_bytes)

    def fail(*_):
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")

    monkeypatch.setattr(processor, "LoadFromSerializedProto", fail)
    with pytest.raises(ModelError, match=r"cannot be loaded \(UnicodeDecodeError\)"):
        Tokenizer(model_bytes)


def check_mutants(model_bytes, num_mutants):
    rng = random.Random(1)
    loaded = 0
    for _ in range(num_mutants):
        data = bytearray(model_bytes)
        for _ in range(rng.choice([1, 1, 2, 8])):
            place = rng.randrange(len(data)) if rng.random() < 0.5 else -1 - rng.randrange(min(len(data), 120))
            change = rng.random()
            if change < 0.7:
                data[place] = rng.randrange(256)
            elif change < 0.8:
                del data[place]
            elif change < 0.9:
                data.insert(place, rng.randrange(256))
            else:
                del data[place : place + rng.randrange(1, 300)]
        try:
            tokenizer = Tokenizer(bytes(data))
        except ModelError:
            continue
        loaded += 1
        for text in TEXTS:
            ids = tokenizer.encode(text)
            assert tokenizer.decode(ids) == text
            assert DOCUMENT_END not in ids
    assert 0 < loaded < num_mutants


def test_damaged_models_are_refused_or_still_exact(model_bytes):
    check_mutants(model_bytes, 1500)


@pytest.mark.slow
def test_many_damaged_models_are_refused_or_still_exact(model_bytes):
    check_mutants(model_bytes, 30_000)
