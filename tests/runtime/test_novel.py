"""No N words in a row that stand in the corpus: what is written is searched for there by brute force."""

import shutil

import pytest

from gru_complete.errors import ModelError, UsageError
from gru_complete.model.corpus_words import corpus_words
from gru_complete.runtime.batch import complete_each
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.novel import NovelGuard
from gru_complete.runtime.options import CompletionOptions, SamplingOptions
from gru_complete.text.verbatim import CorpusWords

PROMPTS = [b"", b"The", b"The ca", b"A dog liked the", b"Bird the saw \n", b"caf\xc3"]


@pytest.fixture(scope="module")
def completer(trained_model):
    completer = Completer.load(trained_model)
    return completer.with_corpus(corpus_words(trained_model, completer.tokenizer))


@pytest.fixture(scope="module")
def corpus(trained_model):
    return trained_model.with_name("corpus.txt").read_bytes()


def written_words(prompt, text):
    """The words of a completion; one that the prompt began is taken whole."""
    word_prefix = b"" if not prompt or prompt[-1:].isspace() or not text or text[:1].isspace() else prompt.split()[-1]
    return (word_prefix + text).split()


def runs(words, number):
    return {tuple(words[start : start + number]) for start in range(len(words) - number + 1)}


@pytest.mark.parametrize("novel", [2, 3, 4, 6])
@pytest.mark.parametrize("more", [{}, {"sampling": SamplingOptions(temperature=0)}, {"stop": (b"e", b"ri", b". ")}])
def test_no_n_words_in_a_row_occur_in_the_corpus(completer, corpus, novel, more):
    known = runs(corpus.split(), novel)
    has_copies = False
    for seed, prompt in enumerate(PROMPTS * 2):
        options = CompletionOptions(until="none", max_tokens=60, seed=seed, novel=novel, **more)
        text = completer.complete(prompt, options).data
        assert runs(written_words(prompt, text), novel) & known == set()
        free = completer.complete(prompt, options.changed(novel=0)).data
        has_copies = has_copies or bool(runs(written_words(prompt, free), novel) & known)
    assert has_copies or novel == 6 or "stop" in more


@pytest.mark.parametrize("until", ["sentence", "line", "word", "paragraph"])
def test_where_a_completion_ends_does_not_matter(completer, corpus, until):
    known = runs(corpus.split(), 3)
    for seed in range(8):
        for prompt in PROMPTS:
            text = completer.complete(prompt, CompletionOptions(until=until, seed=seed, novel=3)).data
            assert runs(written_words(prompt, text), 3) & known == set()


@pytest.mark.parametrize("max_tokens", range(1, 12))
def test_a_length_that_ends_within_a_word_does_not_matter(completer, corpus, max_tokens):
    known = runs(corpus.split(), 2)
    for seed in range(6):
        options = CompletionOptions(until="none", max_tokens=max_tokens, seed=seed, novel=2)
        assert runs(written_words(b"The", completer.complete(b"The", options).data), 2) & known == set()


def test_beam_search_copies_nothing_either(completer, corpus):
    known = runs(corpus.split(), 3)
    for prompt in PROMPTS:
        options = CompletionOptions(until="none", max_tokens=30, beam=4, novel=3)
        found = [completion.data for completion in completer.complete_many(completer.read(prompt), options, 4)]
        assert found
        assert all(runs(written_words(prompt, text), 3) & known == set() for text in found)
        unguarded = completer.complete_many(completer.read(prompt), options.changed(novel=0), 4)
        free = [completion.data for completion in unguarded]
        assert any(runs(written_words(prompt, text), 3) & known for text in free)


def test_many_prompts_at_once_give_the_same_texts_as_one_by_one(completer):
    options = CompletionOptions(until="none", max_tokens=40, novel=3)
    prompts = iter(PROMPTS)

    def take(waits):
        try:
            return next(prompts)
        except StopIteration:
            raise EOFError from None

    batched = [completion.data for completion in complete_each(completer, take, options)]
    assert batched == [completer.complete(prompt, options).data for prompt in PROMPTS]


def test_a_completion_that_copies_nothing_is_unchanged(completer):
    free = completer.complete(b"The", CompletionOptions(until="none", max_tokens=60))
    assert completer.complete(b"The", CompletionOptions(until="none", max_tokens=60, novel=100)) == free


PIECES = [
    b"",
    b" the",
    b" cat",
    b" cats",
    b" ca",
    b"t",
    b"ts",
    b"\n",
    b" ",
    b"cat",
    b"\ncat",
    b" dog",
    b"s",
    b"a b",
    b"c",
]


def forbidden(corpus, word_prefix, written, novel=3, **options):
    guard = NovelGuard(CorpusWords.from_text(corpus), novel, PIECES, **({"has_stops": False} | options))
    return [PIECES[token] for token in guard.forbidden(word_prefix, written)]


def test_what_begins_the_copied_word_is_forbidden_and_nothing_else():
    corpus = b"see the cat run"
    assert forbidden(corpus, b"", b" see the") == [b" cat", b" ca", b"\ncat", b"a b"]
    assert forbidden(corpus, b"", b" see the ") == [b" cat", b" ca", b"cat", b"\ncat", b"a b", b"c"]
    assert forbidden(corpus, b"", b" see  \n the") == [b" cat", b" ca", b"\ncat", b"a b"]
    assert forbidden(corpus, b"", b" see a") == forbidden(corpus, b"", b" the") == [b"a b"]
    assert forbidden(corpus, b"s", b"ee the") == forbidden(corpus, b"", b" see the")
    assert forbidden(corpus, b"s", b" ee the") == [b"a b"]


def test_with_stop_strings_longer_words_are_forbidden_too():
    assert forbidden(b"see the cat", b"", b" see the", has_stops=True) == [b" cat", b" cats", b" ca", b"\ncat", b"a b"]


def test_the_last_words_of_a_document_have_no_follower():
    assert forbidden(b"see the \0 cat", b"", b" see the") == [b"a b"]


def test_text_that_was_cut_for_training_is_whole_in_the_corpus(completer, corpus, trained_model):
    words = corpus.split()
    known = corpus_words(trained_model, completer.tokenizer).text.split()
    missing = runs(words, 5) - runs(known, 5)
    assert missing == set()
    assert runs(known, 5) - runs(words, 5) == {run for run in runs(known, 5) if b"\0" in run}


@pytest.mark.parametrize("cuts", ["5", "[5]", '[["training", "tuning", "x", 1]]'])
def test_damaged_cut_positions_are_reported(completer, trained_model, tmp_path, cuts):
    shutil.copytree(trained_model.with_name("tiny.run"), tmp_path / "tiny.run")
    (tmp_path / "tiny.run" / "text.json").write_text(f'{{"abbreviations": [], "cuts": {cuts}}}')
    with pytest.raises(ModelError, match="text.json is damaged"):
        corpus_words(tmp_path / "tiny", completer.tokenizer)


def test_without_its_corpus_novel_is_refused(completer, trained_model, tmp_path):
    shutil.copytree(trained_model, tmp_path / "alone")
    with pytest.raises(UsageError, match="is missing"):
        corpus_words(tmp_path / "alone", completer.tokenizer)
    with pytest.raises(UsageError):
        Completer.load(trained_model).complete(b"", CompletionOptions(novel=3))
    with pytest.raises(UsageError, match="between 2 and 100"):
        CompletionOptions(novel=1)
