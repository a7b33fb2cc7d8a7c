"""The front door for Python programs: train a model, load it, and ask it for text.

Names and defaults are those of the command line. Text goes in as ``str`` or as UTF-8 ``bytes``. Errors are those of
``errors.py``; nothing here prints. ``load``, ``complete``, ``words`` and ``check`` need numpy only; ``train`` and
``evaluate`` import PyTorch, which takes a second or two.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gru_complete.errors import InterruptedRun, UsageError
from gru_complete.model.directory import LoadedModel, load_model
from gru_complete.model.home import find_model, resolve_model_path
from gru_complete.model.naming import default_model_name
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.draft import Completion
from gru_complete.runtime.options import DEFAULT_SAMPLING, MAX_WORDS, CompletionOptions, SamplingOptions, check_range
from gru_complete.runtime.words import Word, most_likely_words
from gru_complete.storage import atomic
from gru_complete.text.prompts import read_whole_prompt
from gru_complete.thread_settings import set_thread_defaults

if TYPE_CHECKING:
    from types import FrameType

    from gru_complete.checking.unusual_words import UnusualWord
    from gru_complete.evaluation.report import EvaluationReport
    from gru_complete.training.events import Event

_DEFAULTS = CompletionOptions()


class Model:
    """A trained model, as ``load`` and ``train`` return it.

    Attributes:
        name: the last part of its path.
        path: its directory.
        metrics: what was measured when it was trained, e.g. ``held_out_bits_per_byte``.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self.name = loaded.path.name
        self.path = loaded.path
        self.metrics = loaded.manifest.metrics

    def __repr__(self) -> str:
        """The model by its place."""
        return f"<gru_complete.Model {str(self.path)!r}>"

    def complete(
        self,
        prompt: str | bytes,
        *,
        until: str | None = _DEFAULTS.until,
        stop: str | bytes | Sequence[str | bytes] = (),
        max_tokens: int = _DEFAULTS.max_tokens,
        temperature: float = DEFAULT_SAMPLING.temperature,
        top_k: int = DEFAULT_SAMPLING.top_k,
        top_p: float = DEFAULT_SAMPLING.top_p,
        min_p: float = DEFAULT_SAMPLING.min_p,
        typical: float = DEFAULT_SAMPLING.typical,
        repetition_penalty: float = DEFAULT_SAMPLING.repetition_penalty,
        no_repeat: int | None = _DEFAULTS.no_repeat,
        novel: int = _DEFAULTS.novel,
        beam: int = _DEFAULTS.beam,
        min_confidence: float | None = _DEFAULTS.min_confidence,
        seed: int = _DEFAULTS.seed,
    ) -> Completion:
        """Continue a prompt; the same arguments give the same text.

        Args:
            prompt: the text so far; it may end anywhere, also within a word.
            until: where to end: "word", "line", "sentence", "paragraph" or "none". None: "line" if the model was
                trained on a text of lines, else "sentence".
            stop: a string, or several, before which to end.
            max_tokens: the most tokens to draw.
            temperature: 0 always takes the most likely token, 1 draws as the model predicts.
            top_k: draw among the K most likely tokens; 0: all.
            top_p: draw among the fewest most likely tokens that together have this probability.
            min_p: leave out tokens less than this many times as likely as the most likely one.
            typical: draw among the most typical tokens that together have this probability.
            repetition_penalty: above 1, recent tokens become less likely.
            no_repeat: never write this many words in a row twice; 0 allows it. None: 3 with a beam or at
                temperature 0, else 0.
            novel: never reproduce this many consecutive words of the training text; 0 allows it.
            beam: search for the most likely text, following this many at a time, instead of drawing.
            min_confidence: write the most likely text as long as its probability is at least this; it may be empty.
            seed: of the random numbers.

        Returns:
            The completion: ``str(completion)`` is its text, ``completion.data`` the same as bytes.

        Raises:
            UsageError: a value is out of range, or options do not go together.
            CorpusError: the prompt is not text; it may end within a character.
            ModelError: the scores of the model are not finite; with ``novel``, its run directory is damaged.
        """
        sampling = SamplingOptions(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            typical=typical,
            repetition_penalty=repetition_penalty,
        )
        stops = [stop] if isinstance(stop, str | bytes) else stop
        options = CompletionOptions(
            max_tokens=max_tokens,
            until=until,
            stop=tuple(_as_bytes(text) for text in stops),
            sampling=sampling,
            seed=seed,
            beam=beam,
            no_repeat=no_repeat,
            min_confidence=min_confidence,
            novel=novel,
        )
        completer = self._guarded_completer if novel else self._completer
        prompt = _as_bytes(prompt)
        return completer.complete(self._read(prompt), options)._replace(prompt=prompt)

    def words(self, prompt: str | bytes, k: int = 5) -> list[Word]:
        """List the most likely whole words that finish the word begun, or come next.

        Args:
            prompt: the text so far.
            k: how many words, at most 1000. There are fewer where others are less than 1/1000 as likely as the first.

        Returns:
            The most likely first; ``word.text`` is the whole word, ``word.probability`` a lower bound.

        Raises:
            UsageError: ``k`` is out of range.
            CorpusError: the prompt is not text.
        """
        check_range("k", k, 1, MAX_WORDS)
        completer = self._completer
        return most_likely_words(completer.hypotheses(completer.read(self._read(_as_bytes(prompt)))), k)

    def check(self, text: str | bytes, *, threshold: float | None = None) -> list[UnusualWord]:
        """Find words in whose place the model would rather have put another.

        Args:
            text: one document.
            threshold: the least odds of a finding, above 0; what suits the model's text, if omitted.

        Returns:
            The findings in the order of the text, each with ``line``, ``column``, ``word`` and ``alternatives``.

        Raises:
            UsageError: the threshold is out of range.
            CorpusError: the text is not valid UTF-8.
        """
        from gru_complete.checking.threshold import threshold_from_manifest
        from gru_complete.checking.unusual_words import WordChecker
        from gru_complete.text.decoding import DocumentReader

        if threshold is None:
            threshold = threshold_from_manifest(self._loaded.manifest)
        check_range("threshold", threshold, 1e-6, 1e12)
        texts = DocumentReader("text", what="text").texts(iter([_as_bytes(text)]))
        return list(WordChecker(self._completer, threshold=threshold).findings(texts))

    def evaluate(
        self,
        *sources: str | os.PathLike[str],
        text: str | bytes | None = None,
        device: str = "auto",
    ) -> EvaluationReport:
        """Measure how well the model predicts a text that it has not seen.

        Args:
            sources: files or directories to score together. With none, and no ``text``, the test split that training
                held out is scored.
            text: the text itself, instead of files.
            device: "auto", "cpu" or "cuda".

        Returns:
            The report: ``report.bits_per_byte`` and more, all of it in ``report.to_json()``.

        Raises:
            UsageError: both files and a text are given, or neither and no text was held out.
            CorpusError: a file cannot be read, or is not text.
        """
        from gru_complete.evaluation.report import evaluate, network_from_model, read_held_out
        from gru_complete.evaluation.text_to_score import tokenize_sources
        from gru_complete.training.device import choose_device

        if sources and text is not None:
            raise UsageError("evaluate takes files or a text, not both")
        chosen = choose_device(device)
        module = network_from_model(self._loaded, chosen)
        mixture = self._loaded.mixture
        if not sources and text is None:
            return evaluate(module, *read_held_out(self._loaded), mixture=mixture)
        with tempfile.TemporaryDirectory(prefix="gru-complete-") as name:
            files = [os.fspath(source) for source in sources]
            if text is not None:
                files = [os.path.join(name, "text.txt")]
                atomic.write_file(Path(files[0]), _as_bytes(text))
            stream, header = tokenize_sources(files, self._loaded, Path(name))
            return evaluate(module, stream, header, mixture=mixture)

    def _read(self, prompt: bytes) -> bytes:
        """A prompt as the model has learnt text."""
        return read_whole_prompt(prompt, self._completer.normal_form, what="the prompt")

    @cached_property
    def _completer(self) -> Completer:
        return Completer.from_model(self._loaded)

    @cached_property
    def _guarded_completer(self) -> Completer:
        """The completer that knows the text which ``novel`` must not copy."""
        from gru_complete.model.corpus_words import corpus_words

        return self._completer.with_corpus(corpus_words(self.path, self._loaded.tokenizer))


def load(model: str | os.PathLike[str] | None = None) -> Model:
    """Load a finished model; PyTorch is not imported.

    Args:
        model: a name, or a path (a ``str`` with a separator in it, or a ``Path``). If omitted, the model that the
            environment variable GRU_COMPLETE_MODEL names, else the one trained last, else the built-in one.

    Raises:
        ModelError: there is no such model, or it is damaged.
        UsageError: this cannot be the name of a model.
    """
    return Model(load_model(find_model(None if model is None else _model_argument(model))))


def train(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    model: str | os.PathLike[str] | None = None,
    base: str | os.PathLike[str] | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int | None = None,
    config: str | os.PathLike[str] | None = None,
    settings: Mapping[str, object] | None = None,
    replace: bool = False,
    progress: Callable[[Event], object] | None = None,
) -> Model:
    """Train a model on text files and load it.

    The same call continues a training that was interrupted. Ctrl-C saves a checkpoint before KeyboardInterrupt is
    raised, if this is the main thread and Python's own handler is installed.

    Args:
        sources: a file or directory, or several.
        model: name or path of the new model; if omitted, the name of the one file or directory.
        base: name or path of the model to start from, or "none"; if omitted, the built-in one where it suits the text.
        minutes: time for the whole call; 5 if neither this nor ``steps`` is given.
        steps: number of optimizer updates, instead of minutes.
        seed: of all random choices; 0 if omitted.
        config: a YAML file with settings.
        settings: single settings, e.g. ``{"model.hidden_size": 256}``; they override the file.
        replace: whether an existing model of this name, or an unfinished run, may be replaced.
        progress: is called with every event of ``training/events.py`` as it happens.

    Raises:
        UsageError: options exclude each other, or the model exists.
        ConfigError: a setting is unknown, or its value is not allowed.
        CorpusError: the text cannot be read, or there is too little of it.
        EnvironmentFailure: the machine refused, e.g. because the disk is full.
        BusyError: another process trains this model.
        DivergedError: the numbers were not finite, and going back did not help.
        KeyboardInterrupt: Ctrl-C; its cause is the ``InterruptedRun`` that says what was saved.
    """
    started = time.monotonic()
    set_thread_defaults()  # which has an effect if torch is not imported yet
    from gru_complete.checking.threshold import measure_threshold
    from gru_complete.config import load_config
    from gru_complete.training.events import Planned
    from gru_complete.training.run import TrainingRequest, run_training

    if minutes is not None and steps is not None:
        raise UsageError("minutes and steps exclude each other")
    paths = [os.fspath(source) for source in ([sources] if isinstance(sources, str | os.PathLike) else sources)]
    options = {
        "training.base": None if base is None else _model_argument(base),
        "training.minutes": minutes,
        "training.steps": steps,
        "training.seed": seed,
    }
    given: dict[str, object] = {key: value for key, value in options.items() if value is not None}
    if minutes is not None:
        given["training.steps"] = None  # which a config file may set
    checked = load_config(None if config is None else Path(config), _overrides({**(settings or {}), **given}))
    path = resolve_model_path(default_model_name(paths) if model is None else _model_argument(model))
    request = TrainingRequest(paths, path, checked, replace=replace, started=started, measure=measure_threshold)
    with _CtrlC() as ctrl_c, closing(run_training(request, stop_signal=lambda: ctrl_c.received)) as events:
        try:
            for event in events:
                ctrl_c.is_saving_possible |= isinstance(event, Planned)
                if progress is not None:
                    progress(event)
        except InterruptedRun as error:
            raise KeyboardInterrupt(str(error)) from error
    return load(path)


class _CtrlC:
    """Lets the first Ctrl-C ask for a checkpoint, once there is something to save; the second one interrupts at once.

    It changes nothing outside the main thread, nor where the program has a handler of its own.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.is_saving_possible = False
        self._is_ours = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )

    def __enter__(self) -> _CtrlC:
        """Install the handler."""
        if self._is_ours:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        """Put Python's own handler back."""
        if self._is_ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None or not self.is_saving_possible:
            raise KeyboardInterrupt
        self.received = number


def _overrides(settings: Mapping[str, object]) -> list[str]:
    """Settings as ``--set`` takes them; every JSON value is a YAML value."""
    return [f"{key}={json.dumps(value, default=str)}" for key, value in settings.items()]


def _model_argument(model: str | os.PathLike[str]) -> str:
    """A name or path as the command line takes it: a ``Path`` without a separator is a path, too."""
    return model if isinstance(model, str) else os.path.join(os.curdir, os.fspath(model))


def _as_bytes(text: str | bytes) -> bytes:
    try:
        return text if isinstance(text, bytes) else text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        raise UsageError("the text contains a lone surrogate, which UTF-8 cannot encode") from None
