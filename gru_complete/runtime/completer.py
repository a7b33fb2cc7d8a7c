"""Text in, more text out: reads the prompt, draws tokens, and yields the text that certainly belongs to the completion.

A prompt may end anywhere, also within a word or a character: the first token is drawn by the text it adds, whatever
tokens the prompt's last word is made of (``segmentation.py``). A completion is a deterministic function of model,
prompt, options and seed: one random number is used per token, and one more if several tokens can add the first text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gru_complete.errors import UsageError
from gru_complete.model.directory import LoadedModel, load_model
from gru_complete.model.files import ModelFiles
from gru_complete.model.manifest import NOTHING_KNOWN, TextFacts
from gru_complete.runtime.boundaries import TextCutter, boundary
from gru_complete.runtime.draft import Completion, Draft, TextStream
from gru_complete.runtime.first_tokens import FirstTokens
from gru_complete.runtime.options import MAX_BEAM, MAX_COMPLETIONS, CompletionOptions, check_range, stop_text
from gru_complete.runtime.piece_index import PieceIndex
from gru_complete.runtime.predictor import Predictor, overflow_allowed
from gru_complete.runtime.prompt_state import PromptReader, PromptState
from gru_complete.runtime.sampling import PENALTY_TOKENS
from gru_complete.runtime.segmentation import DEFAULT_WIDTH, Hypotheses
from gru_complete.runtime.stepper import Stepper
from gru_complete.runtime.vocabulary import Vocabulary
from gru_complete.text.cleaning import cleaned
from gru_complete.text.normal_form import NormalForm, in_form
from gru_complete.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from gru_complete.runtime.novel import NovelGuard
    from gru_complete.text.verbatim import CorpusWords

C = TypeVar("C", bound="Completer")


class CompletionStream:
    """The pieces of one drawn completion: a ``TextStream``. Iterating draws the tokens.

    Args:
        completer: the model.
        prompt: what is continued.
        first_tokens: what the first token may add to it.
        options: how to draw, and where to end.

    Attributes:
        result: the finished completion; None until the last piece was taken.
    """

    def __init__(
        self, completer: Completer, prompt: PromptState, first_tokens: FirstTokens, options: CompletionOptions
    ) -> None:
        self.result: Completion | None = None
        self._completer = completer
        self._prompt = prompt
        self._first_tokens = first_tokens
        self._options = options

    def __iter__(self) -> Iterator[bytes]:
        """Draw the completion, from its start each time."""
        predictor, overlay = self._completer.predictor, self._prompt.overlay
        draft = self._completer.draft(self._prompt, self._options)
        with overflow_allowed():
            decoder_state, token, certain = draft.draw_first(self._first_tokens)
        while True:
            if certain:
                yield certain
            if draft.reason is not None:
                break
            with overflow_allowed():
                decoder_state = predictor.step(decoder_state, token)
                token, certain = draft.draw_next(predictor.scores(decoder_state, overlay))
        self.result = draft.completion()


class Completer:
    """Continues text with one model.

    There are two layers. ``complete`` takes a text. The others take the state of a text that was read (``read``), so
    that a text is read once, however often it is continued.

    Args:
        predictor: the model, one step at a time.
        tokenizer: its tokenizer.
        vocabulary: that of the tokenizer, if it was made already.
        text: what the model's text is like.
        adapts: whether completions learn from their prompt; if omitted, what the model's mixture says.
        width: the most segmentations of the prompt's end that are kept, as ``Hypotheses.open`` takes it.
        fingerprint: of the model, which distinguishes its states from those of others.
    """

    normal_form: NormalForm | None = None
    """Of the text that the model was trained on; other text is brought to it (``text/prompts.py``)."""

    def __init__(
        self,
        predictor: Predictor,
        tokenizer: Tokenizer,
        *,
        vocabulary: Vocabulary | None = None,
        text: TextFacts = NOTHING_KNOWN,
        adapts: bool | None = None,
        width: int | None = DEFAULT_WIDTH,
        fingerprint: str = "",
    ) -> None:
        self.predictor = predictor
        self.tokenizer = tokenizer
        self.fingerprint = fingerprint
        self.vocabulary = vocabulary or Vocabulary(tokenizer.pieces)
        self.width = width
        self.adapts = predictor.mixture is not None and (predictor.mixture.adapts if adapts is None else adapts)
        self.reader = PromptReader(predictor, tokenizer, learns=self.adapts, start=text.start.encode())
        self._text = text
        self._abbreviations = frozenset(text.abbreviations)
        self._corpus: CorpusWords | None = None
        self._guards: dict[tuple[int, bool], NovelGuard] = {}

    @classmethod
    def load(cls, path: Path, *, adapts: bool | None = None, files: ModelFiles | None = None) -> Completer:
        """Load a finished model; what does not depend on its n-gram model is made while that is being checked.

        Args:
            path: its directory.
            adapts: whether completions learn from their prompt; if omitted, what was better on the tuning split.
            files: its files, if reading them has started already.

        Raises:
            ModelError: the directory is not a model, or a damaged one.
        """
        prepared: list[tuple[Stepper, Vocabulary]] = []
        model = load_model(path, files, meanwhile=lambda model: prepared.append(_prepare(model)))
        return cls._assemble(model, *(prepared[-1] if prepared else _prepare(model)), adapts=adapts)

    @classmethod
    def from_model(cls: type[C], model: LoadedModel, *, adapts: bool | None = None) -> C:
        """Create a completer from a loaded model; ``adapts`` as in ``load``."""
        return cls._assemble(model, *_prepare(model), adapts=adapts)

    @classmethod
    def _assemble(
        cls: type[C], model: LoadedModel, stepper: Stepper, vocabulary: Vocabulary, *, adapts: bool | None
    ) -> C:
        completer = cls(
            Predictor(stepper, model.mixture),
            model.tokenizer,
            vocabulary=vocabulary,
            text=model.manifest.text,
            adapts=adapts,
            fingerprint=model.fingerprint,
        )
        completer.normal_form = model.manifest.normal_form
        return completer

    def with_predictor(self: C, predictor: Predictor) -> C:
        """Return a copy that predicts with another object: the same model behind another interface."""
        other = copy(self)
        other.predictor = predictor
        start = self._text.start.encode()
        other.reader = PromptReader(predictor, self.tokenizer, learns=self.adapts, start=start)
        return other

    def with_corpus(self: C, corpus: CorpusWords) -> C:
        """Return a copy whose completions with ``CompletionOptions.novel`` do not copy this text."""
        other = copy(self)
        other._corpus, other._guards = corpus, {}
        return other

    @property
    def pieces(self) -> PieceIndex:
        """The bytes of the tokens, sorted."""
        return self.vocabulary.index

    def read(
        self,
        text: bytes | Iterable[bytes],
        before: PromptState | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> PromptState:
        """Read a text in constant memory; see ``PromptReader.read``."""
        return self.reader.read(text, before, progress)

    def complete(self, prompt: bytes, options: CompletionOptions) -> Completion:
        """Continue a text, UTF-8.

        Raises:
            ModelError: the model's scores are not finite.
            UsageError: ``novel`` without a corpus.
        """
        return self.complete_from(self.read(prompt), options)._replace(prompt=prompt)

    def complete_from(self, prompt: PromptState, options: CompletionOptions) -> Completion:
        """Continue a text that was read; raises what ``complete`` raises."""
        return next(self.complete_many(prompt, options, 1))

    def complete_many(self, prompt: PromptState, options: CompletionOptions, n: int) -> Iterator[Completion]:
        """Continue a text that was read in n different ways, or fewer if no more are found.

        They are drawn with the seeds ``options.seed``, ``options.seed + 1``, ...; repeated texts are left out. With a
        beam, they are the n best that it finds. At temperature 0, where all draws are the same, a beam finds them too.

        Raises:
            UsageError: n is out of range or requires a beam that the other options exclude; or ``novel`` without a
                corpus.
            ModelError: the model's scores are not finite.
        """
        check_range("n", n, 1, MAX_COMPLETIONS)
        if options.min_confidence is not None:
            if n > 1:
                raise UsageError("min-confidence suggests one text, not several")
            return _results(self.stream(prompt, options))
        if n > 1 and (options.beam or options.sampling.temperature == 0):
            options = _with_beam(options, n)
        first_tokens = self.first_tokens(prompt)
        if options.beam:
            return islice(self._search(prompt, first_tokens, options), n)
        from gru_complete.runtime.search import distinct  # here, since a stream does not need it

        return distinct(self._draw_forever(prompt, first_tokens, options), n)

    def stream(
        self, prompt: PromptState, options: CompletionOptions, hypotheses: Hypotheses | None = None
    ) -> TextStream:
        """Continue a text that was read, piece by piece.

        Args:
            prompt: the text.
            options: how; a beam is ignored, because its texts are known only at the end.
            hypotheses: those of the prompt, if the caller has them already.

        Raises:
            ModelError: the model's scores are not finite.
        """
        if options.min_confidence is None:
            return CompletionStream(self, prompt, self.first_tokens(prompt, hypotheses), options)
        from gru_complete.runtime.suggestions import SuggestionStream  # here, since most streams are drawn

        return SuggestionStream(hypotheses or self.hypotheses(prompt), self._cutter(prompt, options), options)

    def hypotheses(self, prompt: PromptState) -> Hypotheses:
        """Return the segmentations of a text's last segment, which give the probability of what follows it."""
        return Hypotheses.open(
            self.predictor, self.pieces, prompt.decoder_state, prompt.segment, prompt.overlay, width=self.width
        )

    def first_tokens(self, prompt: PromptState, hypotheses: Hypotheses | None = None) -> FirstTokens:
        """Return what the first token may add to a text; at least one of the possibilities is valid text.

        Args:
            prompt: the text.
            hypotheses: its segmentations, if the caller has them already.
        """
        hypotheses = hypotheses or self.hypotheses(prompt)
        first_tokens = hypotheses.first_tokens()
        if not self.vocabulary.first_masks.allow_any(first_tokens, prompt.pending):
            first_tokens = hypotheses.without_pruning().first_tokens()
        return first_tokens

    def draft(self, prompt: PromptState, options: CompletionOptions) -> Draft:
        """Return a completion of which nothing is drawn yet.

        Raises:
            UsageError: ``novel`` without a corpus.
        """
        recent: Iterable[int] = ()
        if options.sampling.repetition_penalty != 1:  # nothing else needs them
            # The last segment may have several segmentations: these are the tokens of the canonical one.
            recent = (*prompt.recent, *self.tokenizer.encode_segment(prompt.segment))[-PENALTY_TOKENS:]
        cutter, guard = self._cutter(prompt, options), self._guard(options)
        return Draft(self.vocabulary, prompt, options, cutter, recent=recent, guard=guard)

    def _draw_forever(
        self, prompt: PromptState, first_tokens: FirstTokens, options: CompletionOptions
    ) -> Iterator[Completion]:
        """Draw completions, with one seed after the other."""
        for index in count():
            seed = (options.seed + index) % 2**64
            yield from _results(CompletionStream(self, prompt, first_tokens, options.changed(seed=seed)))

    def _search(
        self, prompt: PromptState, first_tokens: FirstTokens, options: CompletionOptions
    ) -> Iterator[Completion]:
        """Find the most likely completions."""
        from gru_complete.runtime.search import SearchStart, beam_search

        mask = self.vocabulary.first_masks.mask(first_tokens, prompt.pending)
        start = SearchStart.from_prompt(prompt, first_tokens, mask)
        cutter, guard = self._cutter(prompt, options), self._guard(options)
        with overflow_allowed():
            texts = beam_search(self.predictor, self.vocabulary, start, cutter=cutter, options=options, guard=guard)
        for text in texts:
            yield Completion(b"", text.data, text.tokens, text.log_probability, text.stop_reason, options.seed)

    def _cutter(self, prompt: PromptState, options: CompletionOptions) -> TextCutter:
        """What finds the end of a completion."""
        end = options.until or self._text.until
        until = boundary(end, before=prompt.whole_tail, abbreviations=self._abbreviations)
        stops = (in_form(cleaned(stop_text(stop)), self.normal_form) for stop in options.stop)
        return TextCutter(until, [stop for stop in stops if stop])  # nothing is left of what is never written

    def _guard(self, options: CompletionOptions) -> NovelGuard | None:
        """What keeps completions from copying the corpus, made once for each setting; None if nothing does."""
        if not options.novel:
            return None
        if self._corpus is None:
            raise UsageError("novel needs the text that the model was trained on")
        from gru_complete.runtime.novel import NovelGuard  # here, since few completions need it

        key = options.novel, bool(options.stop)
        if key not in self._guards:
            pieces = self.tokenizer.pieces
            self._guards[key] = NovelGuard(self._corpus, options.novel, pieces, has_stops=bool(options.stop))
        return self._guards[key]


def _results(stream: TextStream) -> Iterator[Completion]:
    """The finished text of a stream."""
    for _ in stream:
        pass
    assert stream.result is not None
    yield stream.result


def _with_beam(options: CompletionOptions, n: int) -> CompletionOptions:
    """The options with a beam of at least n, also in place of temperature 0."""
    check_range("with a beam, or at temperature 0, the number of completions", n, 1, MAX_BEAM)
    if options.logprobs:
        raise UsageError("several completions at temperature 0 need a beam, and logprobs does not go with a beam")
    return options.changed(beam=max(n, options.beam))


def _prepare(model: LoadedModel) -> tuple[Stepper, Vocabulary]:
    """The parts of a completer that need no n-gram model."""
    return Stepper(model.manifest.arch, model.weights), Vocabulary(model.tokenizer.pieces)
