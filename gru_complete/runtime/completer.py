"""Text in, more text out: reads the prompt, draws tokens, and lets through what is certain to be the completion.

A prompt may end anywhere, also within a word or a character: the first token is drawn by the text it adds, whatever
tokens the prompt's last word is made of (``segmentation.py``). Completions are exact functions of model, prompt,
options and seed: one random number is used per token drawn, and one more where the first has several segmentations.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from copy import copy
from functools import cached_property, lru_cache, partial
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from gru_complete.arrays import FloatArray
from gru_complete.errors import UsageError
from gru_complete.model.directory import LoadedModel, load_model
from gru_complete.ngrams.overlay import Overlay
from gru_complete.runtime.boundaries import CONTEXT_CHARACTERS, TextCutter, boundary
from gru_complete.runtime.characters import CharacterMasks, continues, unfinished
from gru_complete.runtime.draft import PENALTY_TOKENS, Completion, Draft
from gru_complete.runtime.first_tokens import FirstTokens
from gru_complete.runtime.options import MAX_BEAM, CompletionOptions, SamplingOptions, check_range, stop_text
from gru_complete.runtime.piece_index import PieceIndex
from gru_complete.runtime.predictor import DecoderState, Predictor
from gru_complete.runtime.sampling import candidates, draw
from gru_complete.runtime.segmentation import DEFAULT_WIDTH, Hypotheses
from gru_complete.runtime.stepper import Stepper
from gru_complete.text.tokenizer import DOCUMENT_END, Tokenizer

READ_BYTES = 1 << 16  # of the prompt at a time

if TYPE_CHECKING:
    from gru_complete.runtime.logprobs import TokenLogprobs
    from gru_complete.runtime.novel import NovelGuard
    from gru_complete.runtime.search import Continuations
    from gru_complete.runtime.suggestions import SuggestionStream
    from gru_complete.text.verbatim import CorpusWords

C = TypeVar("C", bound="Completer")

# A stranger's weights may overflow: `candidates` then says so, and numpy need not.
_overflow_allowed = partial(np.errstate, over="ignore", invalid="ignore")


class PromptState(NamedTuple):
    """A text that was read, ready to be continued any number of times, or to be read on.

    Attributes:
        decoder_state: where its last segment begins: what is before it was read in its one canonical segmentation.
        segment: the bytes of that segment so far; none only at a document's start.
        overlay: what the finished segments have said. A completion does not add to it.
        recent: the last tokens of the finished segments, at most ``PENALTY_TOKENS``.
        tail: the last characters of the text, at most ``CONTEXT_CHARACTERS``.
    """

    decoder_state: DecoderState
    segment: bytes
    overlay: Overlay | None
    recent: tuple[int, ...]
    tail: str


class CompletionStream:
    """The pieces of one completion, as they become certain.

    Iterating draws the tokens. Every piece is whole UTF-8 characters, but for the rest of one that the prompt has
    begun; joined they are ``result.data``.

    Attributes:
        result: the finished completion; None until the last piece was taken.
    """

    def __init__(
        self,
        completer: Completer,
        prompt: bytes,
        prompt_state: PromptState,
        first_tokens: FirstTokens,
        options: CompletionOptions,
    ) -> None:
        self.result: Completion | None = None
        self._openings = first_tokens
        self._completer = completer
        self._prompt = prompt
        self._prompt_state = prompt_state
        self._options = options

    def __iter__(self) -> Iterator[bytes]:
        """Draw the completion, from its start each time."""
        completer, sampling, overlay = self._completer, self._options.sampling, self._prompt_state.overlay
        draft = completer.draft(self._prompt_state, self._options)
        with _overflow_allowed():
            decoder_state, token, certain = completer.draw_first(draft, self._openings, sampling)
        while True:
            if certain:
                yield certain
            if draft.reason:
                break
            with _overflow_allowed():
                decoder_state = completer.predictor.step(decoder_state, token)
                token, certain = completer.draw_next(
                    draft, completer.predictor.scores(decoder_state, overlay), sampling
                )
        self.result = draft.completion(self._prompt)


class Completer:
    """Continues text with one model.

    Args:
        predictor: the model, one step at a time.
        tokenizer: its tokenizer.
        abbreviations: words that a period follows inside its corpus's sentences, without the period.
        adapts: whether completions learn from their prompt; as the model's memory says, if omitted.
        width: segmentations of the prompt's end that a completion is made of, as ``Hypotheses.open`` takes it.
        fingerprint: of the model, by which the contexts of others are told from its own.
    """

    def __init__(
        self,
        predictor: Predictor,
        tokenizer: Tokenizer,
        *,
        abbreviations: Iterable[str] = (),
        adapts: bool | None = None,
        width: int | None = DEFAULT_WIDTH,
        fingerprint: str = "",
    ) -> None:
        self.predictor = predictor
        self.tokenizer = tokenizer
        self.fingerprint = fingerprint
        self.pieces = PieceIndex(tokenizer.pieces)
        self.width = width
        self.adapts = predictor.mixture is not None and (predictor.mixture.adapts if adapts is None else adapts)
        self._abbreviations = frozenset(abbreviations)
        self.masks = CharacterMasks(tokenizer.pieces)
        self._mask_of_distinct = lru_cache(16)(self._compute_mask_of_distinct)
        self.corpus: CorpusWords | None = None
        """What must not be copied; whoever asks for ``CompletionOptions.novel`` sets it."""
        self._guards: dict[tuple[int, bool], NovelGuard] = {}

    @classmethod
    def load(cls, path: Path, *, adapts: bool | None = None) -> Completer:
        """Load a finished model.

        Args:
            path: its directory.
            adapts: whether completions learn from their prompt; as the tuning part has shown, if omitted.

        Raises:
            ModelError: the directory is no model or a damaged one.
        """
        return cls.from_model(load_model(path), adapts=adapts)

    @classmethod
    def from_model(cls: type[C], model: LoadedModel, *, adapts: bool | None = None) -> C:
        """Make one of a model that was loaded; ``adapts`` as in ``load``."""
        predictor = Predictor(Stepper(model.manifest.arch, model.weights), model.mixture)
        return cls(
            predictor,
            model.tokenizer,
            abbreviations=model.manifest.tokenizer["abbreviations"],
            adapts=adapts,
            fingerprint=model.fingerprint,
        )

    def with_predictor(self: C, predictor: Predictor) -> C:
        """The same, but for what predicts: the same model in another guise."""
        other = copy(self)
        other.predictor = predictor
        return other

    def read(
        self,
        prompt: bytes | Iterable[bytes],
        prompt_state: PromptState | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> PromptState:
        """Read a text, in constant memory; the same text gives the same state wherever it was cut.

        Args:
            prompt: the text, whole or in blocks; it may be empty.
            prompt_state: where the text before it ended; if omitted, a document begins.
            progress: is told after each block how many bytes were read so far.
        """
        with _overflow_allowed():
            steps = self.read_in_steps(prompt, prompt_state, progress)
            decoder_state: DecoderState | None = None
            while True:
                try:
                    before, tokens = next(steps) if decoder_state is None else steps.send(decoder_state)
                except StopIteration as end:
                    read: PromptState = end.value
                    return read
                decoder_state = self.predictor.read(before, tokens)

    def read_in_steps(
        self,
        prompt: bytes | Iterable[bytes],
        prompt_state: PromptState | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Generator[tuple[DecoderState, list[int]], DecoderState, PromptState]:
        """``read``, but for the model: who wants to read many texts side by side does that.

        Yields:
            Where the text read so far ended, and the next tokens. Where these end must be sent.
        """
        decoder_state, segment, overlay, recent, tail = prompt_state or self._document_start()
        before = tail[: max(0, len(tail) - len(segment.decode(errors="replace")))]  # what precedes the segment
        num_bytes = 0
        for block in _blocks(prompt):
            data = segment + block
            ids, segment = self.tokenizer.encode_finished(data)
            tokens = ids.tolist()
            if tokens:
                decoder_state = yield decoder_state, tokens
            recent = (*recent, *tokens[-PENALTY_TOKENS:])[-PENALTY_TOKENS:]
            if overlay is not None and tokens:
                if prompt_state is not None and overlay is prompt_state.overlay:
                    overlay = overlay.fork()
                for token in tokens:
                    overlay.learn(token)
            before = _last_characters(before, data[: len(data) - len(segment)])
            num_bytes += len(block)
            if progress is not None:
                progress(num_bytes)
        return PromptState(decoder_state, segment, overlay, recent, _last_characters(before, segment))

    def hypotheses(self, prompt_state: PromptState) -> Hypotheses:
        """Return the segmentations of the text's last segment: the probability of what follows the text."""
        decoder_state, segment, overlay, _, _ = prompt_state
        return Hypotheses.open(self.predictor, self.pieces, decoder_state, segment, overlay, width=self.width)

    def first_tokens(self, prompt_state: PromptState, hypotheses: Hypotheses | None = None) -> FirstTokens:
        """Return what the first token may add to the text; something of it is text (``first_token_mask``).

        The hypotheses are those of the context; whoever has them already gives them.
        """
        hypotheses = hypotheses or self.hypotheses(prompt_state)
        first_tokens = hypotheses.first_tokens()
        pending = unfinished(prompt_state.segment)
        scores, mask = first_tokens.log_probabilities, self._mask_of_distinct(pending)
        is_text = bool((scores[: len(mask)] + mask > -np.inf).any())  # mostly so; then the others need no look
        if not (is_text or bool((scores + self.first_token_mask(first_tokens, pending) > -np.inf).any())):
            first_tokens = hypotheses.without_pruning().first_tokens()
        return first_tokens

    def first_token_mask(self, first_tokens: FirstTokens, pending: bytes) -> FloatArray:
        """Return 0 for each opening that may follow the first bytes of a character, -inf for the others, ``(N,)``."""
        of_distinct = self._mask_of_distinct(pending)
        rest = [0.0 if continues(pending, text) else -np.inf for text in first_tokens.texts[len(of_distinct) :]]
        mask: FloatArray = np.concatenate((of_distinct, np.array(rest, np.float32)))
        return mask

    def _compute_mask_of_distinct(self, pending: bytes) -> FloatArray:
        """The part of ``first_token_mask`` that is the same for all openings, ``(D,)``."""
        mask = np.full(len(self.pieces.distinct), -np.inf, np.float32)
        mask[self.pieces.place] = self.masks.after(pending)
        return mask

    def draft(self, prompt_state: PromptState, options: CompletionOptions) -> Draft:
        """Return a completion of which nothing is drawn yet."""
        pending = unfinished(prompt_state.segment)
        tail = prompt_state.tail[:-1] if pending else prompt_state.tail
        recent: Iterable[int] = ()
        if options.sampling.repetition_penalty != 1:  # nothing else looks at them
            # Of the last segment, which may have several segmentations, the tokens of the canonical one.
            recent = (*prompt_state.recent, *self.tokenizer.encode_segment(prompt_state.segment))[-PENALTY_TOKENS:]
        guard = self._guard(options) if options.novel else None
        return Draft(options, self.cutter(tail, options), recent=recent, tail=tail, pending=pending, guard=guard)

    def _guard(self, options: CompletionOptions) -> NovelGuard:
        from gru_complete.runtime.novel import NovelGuard

        if self.corpus is None:
            raise UsageError("novel needs the text that the model was trained on")
        key = options.novel, bool(options.stop)
        if key not in self._guards:
            self._guards[key] = NovelGuard(self.corpus, options.novel, self.tokenizer.pieces, has_stops=key[1])
        return self._guards[key]

    def stream(
        self, prompt: bytes | PromptState, options: CompletionOptions, hypotheses: Hypotheses | None = None
    ) -> CompletionStream | SuggestionStream:
        """Continue a prompt piece by piece; the prompt of a completion of a context is given as empty.

        The hypotheses are those of the context; whoever has them already gives them.
        """
        text, prompt_state = (b"", prompt) if isinstance(prompt, PromptState) else (prompt, self.read(prompt))
        if options.min_confidence is not None:
            return self._suggestion_stream(text, prompt_state, options)
        return CompletionStream(self, text, prompt_state, self.first_tokens(prompt_state, hypotheses), options)

    def complete(self, prompt: bytes | PromptState, options: CompletionOptions) -> Completion:
        """Continue a prompt."""
        return next(self.complete_many(prompt, options, 1))

    def complete_many(self, prompt: bytes | PromptState, options: CompletionOptions, n: int) -> Iterator[Completion]:
        """Continue a prompt in n different ways; it is read once.

        They are drawn with the seeds ``options.seed``, ``options.seed + 1``, ...; what was drawn before is left out. Or
        they are the n best that a beam finds, of n at least; at temperature 0, where drawing again gives the same text
        again, a beam finds them too. There may be fewer.

        Raises:
            UsageError: n is out of range, or asks for a beam that does not go with the other options.
        """
        check_range("n", n, 1, 10_000)
        if options.min_confidence is not None and n > 1:
            raise UsageError("min-confidence offers one text, not several")
        if n > 1 and (options.beam or options.sampling.temperature == 0):
            options = _searching(options, n)
        text, prompt_state = (b"", prompt) if isinstance(prompt, PromptState) else (prompt, self.read(prompt))
        if options.min_confidence is not None:
            return _results(self._suggestion_stream(text, prompt_state, options))
        first_tokens = self.first_tokens(prompt_state)
        from gru_complete.runtime.search import distinct  # here, so that a single completion need not wait for it

        if options.beam:
            return islice(self._beam(text, prompt_state, first_tokens, options), n)
        return distinct(self._drawn(text, prompt_state, first_tokens, options), n)

    def _drawn(
        self, text: bytes, prompt_state: PromptState, first_tokens: FirstTokens, options: CompletionOptions
    ) -> Iterator[Completion]:
        """Draw completions for ever, with one seed after the other."""
        for index in count():
            seed = (options.seed + index) % 2**64
            yield from _results(CompletionStream(self, text, prompt_state, first_tokens, options.changed(seed=seed)))

    def _suggestion_stream(
        self, text: bytes, prompt_state: PromptState, options: CompletionOptions
    ) -> SuggestionStream:
        from gru_complete.runtime.suggestions import SuggestionStream

        tail = prompt_state.tail[:-1] if unfinished(prompt_state.segment) else prompt_state.tail
        return SuggestionStream(text, self.hypotheses(prompt_state), self.cutter(tail, options), options)

    def _beam(
        self, text: bytes, prompt_state: PromptState, first_tokens: FirstTokens, options: CompletionOptions
    ) -> Iterator[Completion]:
        """Search the likeliest completions."""
        from gru_complete.runtime.search import FirstStep, beam_search

        pending = unfinished(prompt_state.segment)
        tail = prompt_state.tail[:-1] if pending else prompt_state.tail
        with _overflow_allowed():
            found = beam_search(
                self.predictor,
                self._continuations,
                self.masks,
                FirstStep.from_first_tokens(first_tokens, self.first_token_mask(first_tokens, pending), pending),
                before=tail,
                cutter=self.cutter(tail, options),
                overlay=prompt_state.overlay,
                options=options,
                guard=self._guard(options) if options.novel else None,
            )
        for one in found:
            yield Completion(text, one.text, one.tokens, one.log_probability, one.stop_reason, options.seed)

    @cached_property
    def _continuations(self) -> Continuations:
        from gru_complete.runtime.search import Continuations

        return Continuations(self.tokenizer.pieces)

    @cached_property
    def _places(self) -> dict[bytes, list[int]]:
        from gru_complete.runtime.repeats import places  # here, since most completions may repeat

        return places(self.tokenizer.pieces)

    def draw_first(
        self, draft: Draft, first_tokens: FirstTokens, sampling: SamplingOptions
    ) -> tuple[DecoderState, int, bytes]:
        """Draw the first token of a draft.

        Returns:
            Where the token begins, the token, and what is certain of the completion by then.
        """
        blocked = draft.blocked(first_tokens.places) if draft.may_block else ()
        decoder_state, token, text, logprob = self.first_token(
            first_tokens, draft.recent, draft.pending, sampling, draft.uniform, blocked
        )
        logprobs = None
        if draft.num_rivals:
            index = first_tokens.texts.index(text)
            logprobs = _token_logprobs(first_tokens.texts, first_tokens.log_probabilities, index, draft.num_rivals)
        return decoder_state, token, draft.append(token, text, logprob, logprobs)

    def draw_next(self, draft: Draft, scores: FloatArray, sampling: SamplingOptions) -> tuple[int, bytes]:
        """Draw another token of a draft.

        Args:
            draft: what is drawn so far.
            scores: log probabilities of what may follow, ``(V,)``.
            sampling: how to draw.

        Returns:
            The token, and what has become certain of the completion.
        """
        blocked = draft.blocked(self._places) if draft.may_block else ()
        allowed = scores
        if draft.is_guarded and (forbidden := draft.forbidden()):
            allowed = scores.copy()
            allowed[forbidden] = -np.inf
            if not (allowed + self.masks.after(draft.pending)).max() > -np.inf:
                return DOCUMENT_END, draft.end("novel")
        token, logprob = self.next_token(allowed, draft.recent, draft.pending, sampling, draft.uniform(), blocked)
        pieces = self.tokenizer.pieces
        logprobs = _token_logprobs(pieces, scores, token, draft.num_rivals) if draft.num_rivals else None
        return token, draft.append(token, pieces[token], logprob, logprobs)

    def first_token(
        self,
        first_tokens: FirstTokens,
        recent: Iterable[int],
        pending: bytes,
        sampling: SamplingOptions,
        uniform: Callable[[], float],
        blocked: Sequence[int] = (),
    ) -> tuple[DecoderState, int, bytes, float]:
        """Draw what the first token adds to the text, then from its posterior which token that is, after what.

        Args:
            first_tokens: what it may add.
            recent: the last tokens of the text.
            pending: the first bytes of a character that the text did not finish.
            sampling: how to draw.
            uniform: gives random numbers from [0, 1): one is taken, a second where several tokens give the text.
            blocked: openings that may not come, unless there are no others.

        Returns:
            Where the token begins, the token, what it adds to the text, and the natural log probability of that at
            temperature 1, nothing filtered.
        """
        mask = self.first_token_mask(first_tokens, pending)
        scores = first_tokens.log_probabilities
        again = first_tokens.of_tokens(list(recent)) if sampling.repetition_penalty != 1 else []
        found, weights = candidates(scores, sampling, recent=again, mask=mask, blocked=blocked)
        index = int(found[draw(weights, uniform())])
        choices = first_tokens.choices(index)
        shares = np.array([choice.share for choice in choices])
        if sampling.temperature == 0:
            chosen = choices[int(shares.argmax())]
        else:
            chosen = choices[draw(shares, uniform()) if len(choices) > 1 else 0]
        return (
            first_tokens.rows[chosen.row].decoder_state,
            chosen.token,
            first_tokens.texts[index],
            float(scores[index]),
        )

    def next_token(
        self,
        scores: FloatArray,
        recent: Iterable[int],
        pending: bytes,
        sampling: SamplingOptions,
        uniform: float,
        blocked: Sequence[int] = (),
    ) -> tuple[int, float]:
        """Draw the token that follows, with a random number from [0, 1).

        Args:
            scores: log probabilities, ``(V,)``.
            recent: its last tokens.
            pending: the first bytes of a character it did not finish.
            sampling: how to draw.
            uniform: the random number.
            blocked: tokens that may not come, unless there are no others.

        Returns:
            The token, and its natural log probability at temperature 1, nothing filtered.
        """
        tokens, weights = candidates(scores, sampling, recent=recent, mask=self.masks.after(pending), blocked=blocked)
        token = int(tokens[draw(weights, uniform)])
        return token, float(scores[token])

    def _document_start(self) -> PromptState:
        overlay = Overlay() if self.adapts else None
        if overlay is not None:
            overlay.learn(DOCUMENT_END)
        return PromptState(self.predictor.start(), b"", overlay, (), "")

    def cutter(self, before: str, options: CompletionOptions) -> TextCutter:
        """Return what finds the end of a completion that follows the text ``before``."""
        until = boundary(options.until, before=before, abbreviations=self._abbreviations)
        return TextCutter(until, [stop_text(stop) for stop in options.stop])


def _results(stream: CompletionStream | SuggestionStream) -> Iterator[Completion]:
    """The finished completion of a stream."""
    for _ in stream:
        pass
    assert stream.result is not None
    yield stream.result


def _token_logprobs(texts: Sequence[bytes], scores: FloatArray, index: int, k: int) -> TokenLogprobs:
    from gru_complete.runtime.logprobs import token_logprobs  # here, since hardly anybody asks for it

    return token_logprobs(texts, scores, index, k)


def _searching(options: CompletionOptions, n: int) -> CompletionOptions:
    """The options with a beam of n at least, also instead of temperature 0."""
    check_range("with a beam, or at temperature 0, the number of completions", n, 1, MAX_BEAM)
    if options.logprobs:
        raise UsageError("at temperature 0 several completions are searched, and logprobs does not go with that")
    return options.changed(beam=max(n, options.beam))


def _blocks(prompt: bytes | Iterable[bytes]) -> Iterator[bytes]:
    """The prompt in blocks of at most ``READ_BYTES``."""
    for block in [prompt] if isinstance(prompt, bytes) else prompt:
        for start in range(0, len(block), READ_BYTES):
            yield block[start : start + READ_BYTES]


def _last_characters(before: str, text: bytes) -> str:
    """The last characters of a text that goes on with whole characters."""
    return (before + text[-4 * CONTEXT_CHARACTERS :].decode(errors="replace"))[-CONTEXT_CHARACTERS:]
