import random
import re
from types import SimpleNamespace

import pytest

from gru_complete.cli.answers import Request, answer
from gru_complete.cli.prompts import text_sources
from gru_complete.cli.results import Result, shown_word
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.options import CompletionOptions
from gru_complete.runtime.words import Word


@pytest.mark.parametrize("beam", [0, 2])
def test_what_may_come_first_is_predicted_once(trained_model, monkeypatch, beam):
    completer = Completer.load(trained_model)
    predicted, written = [], []
    first_tokens = Completer.first_tokens

    def counted(self, *arguments):
        predicted.append(arguments)
        return first_tokens(self, *arguments)

    monkeypatch.setattr(Completer, "first_tokens", counted)
    console = SimpleNamespace(write=written.append, is_animated=False)
    request = Request(CompletionOptions(beam=beam), 1, 0, False, False, False, "model")
    assert answer(console, completer, request, None, text_sources("The cat", None), state_out=None, end=b"\n")
    assert written[-1] == b"\n"
    assert len(predicted) == 1


@pytest.mark.parametrize("seed", range(20))
def test_a_listed_word_shows_what_is_typed_before_it_but_no_white_space(seed):
    rng = random.Random(seed)
    for _ in range(50):
        word = "".join(rng.choices("abcäé日", k=rng.randint(1, 8))).encode()
        before = "".join(rng.choices(["~/", '"', "(", "/", "«", "--", "$", "\\", "\n", "\t", " "], k=rng.randint(0, 3)))
        white = rng.choice(["", " ", "\n", "\n\n", "\xa0", "\u3000"])
        completion = f"{white}{before}".encode() + word
        assert shown_word(word, completion) == before.lstrip().encode() + word
        known = rng.randrange(len(word) + 1)  # bytes of the word that the prompt has already
        assert shown_word(word, word[known:]) == word
        listed = Word(word, completion, 0.5, 0.5)
        for separator in (b"\n", b"\t", b"\0"):
            result = Result.from_words([listed, listed], prompt=b"", model="m", separator=separator)
            fields = result.text.split(separator) if separator != b"\t" else re.split(rb"\t(?=0\.5000)", result.text)
            assert [field.split(b"\t", 1)[0] for field in fields] == [b"0.5000", b"0.5000"]
            if separator != b"\0":
                assert fields[0].count(b"\t") == 1
            assert result.record["words"][0]["text"] == completion.decode()
