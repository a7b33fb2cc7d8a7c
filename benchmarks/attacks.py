"""A stranger made the files, the disk refuses, the system allows too little: is there ever an internal error?

Models and run directories are changed at random, with checksums that agree again, and used: completing, or resuming
the training. Every system call that changes the disk fails once, in `train`, `remove` and `prime`. Commands run
under limits of address space, open files, processes and file sizes. A case fails unless it works or is refused with the
exit code for it: 4 for models and run directories (2 where a run has other settings now, 7 where its weights give no
finite loss), 5 for the machine.

    python benchmarks/attacks.py [--models 5000] [--runs 1000] [--faults 1] [--limits 1] [--workers 2] [--seed 0]

Prints a table; exit code 1 where a case failed. A failed case is described on stderr, with the seed that repeats it.
"""

import argparse
import contextlib
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the attacks of the tests

from common import GRU_COMPLETE, parse_arguments

from gru_complete.config import load_config
from gru_complete.errors import GruCompleteError, UsageError
from gru_complete.model.directory import load_model
from gru_complete.model.home import remove_model
from gru_complete.model.run_dir import RunDir
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.options import CompletionOptions, SamplingOptions
from gru_complete.runtime.state import save_prompt_state
from gru_complete.sample_world.writing import generate
from gru_complete.storage import atomic, lock, os_calls
from tests import mutations
from tests.model.models import save_with_base
from tests.storage.faulty_os import FaultyOs

SETTINGS = ["tokenizer.vocab_size=120", "model.hidden_size=24", "model.embedding_size=16", "training.batch_size=4"]
SETTINGS += ["training.seq_len=16", "training.steps=24", "training.evaluations=4", "training.threads=1"]
SETTINGS += ["ngrams.order=3"]
CASE_SECONDS = 30
MAX_MEMORY_BYTES = 1 << 30  # what one case may add to a worker
OPTIONS = [
    CompletionOptions(max_tokens=8),
    CompletionOptions(max_tokens=8, sampling=SamplingOptions(temperature=0)),
    CompletionOptions(max_tokens=4, beam=3),
    CompletionOptions(max_tokens=4, min_confidence=0.1),
]


class Outcome(NamedTuple):
    """What came of a case.

    Attributes:
        group: what was attacked.
        kind: how.
        result: "worked", "refused" or "failed".
        problem: of a failed case.
    """

    group: str
    kind: str
    result: str
    problem: str = ""


class Job(NamedTuple):
    """Cases for one worker.

    Attributes:
        group: what is attacked.
        directory: its original, which is not changed.
        seeds: one for each case.
    """

    group: str
    directory: Path
    seeds: Sequence[int]


def outcome_of(group: str, kind: str, case: Callable[[], object], allowed: Iterable[int]) -> Outcome:
    """Run a case: does it work, is it refused with an allowed exit code, or does it fail?"""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.alarm(CASE_SECONDS)
    try:
        case()
    except GruCompleteError as error:
        problem = "" if error.exit_code in allowed else f"exit code {error.exit_code}: {error}"
    except Exception:
        problem = traceback.format_exc(limit=-4)
    else:
        problem = None
    finally:
        signal.alarm(0)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    if grown > MAX_MEMORY_BYTES:
        problem = f"took {grown / 1e6:.0f} MB"
    result = "worked" if problem is None else "failed" if problem else "refused"
    return Outcome(group, kind, result, problem or "")


def too_long(*_: object) -> None:
    raise TimeoutError(f"no end within {CASE_SECONDS} s")


def files_in(directory: Path) -> mutations.Files:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def write_changes(directory: Path, before: mutations.Files, after: mutations.Files) -> None:
    """Make a directory with the files ``before`` one with those ``after``."""
    for name in before.keys() - after.keys():
        (directory / name).unlink()
    for name, data in after.items():
        if before.get(name) != data:
            (directory / name).write_bytes(data)


def attack_models(job: Job) -> list[Outcome]:
    """Load and use changed copies of a model."""
    outcomes = []
    with tempfile.TemporaryDirectory() as name:
        shutil.copytree(job.directory.parent, Path(name, "models"), ignore=shutil.ignore_patterns("*.run", "home"))
        copy = Path(name, "models", job.directory.name)
        original = files_in(copy)
        for seed in job.seeds:
            rng = random.Random(seed)
            kind, attack = rng.choice(sorted(mutations.MODEL.items()))
            changed = dict(original)
            attack(changed, rng)
            write_changes(copy, original, changed)

            def case(rng: random.Random = rng) -> None:
                completer = Completer.from_model(load_model(copy), adapts=rng.choice([None, None, True]))
                completer.complete("The c\u00e4t ".encode()[: rng.randrange(9)], rng.choice(OPTIONS))

            outcome = outcome_of(job.group, kind, case, allowed=(4,))
            outcomes.append(outcome._replace(problem=outcome.problem and f"seed {seed}: {outcome.problem}"))
            write_changes(copy, changed, original)
    return outcomes


def attack_runs(job: Job) -> list[Outcome]:
    """Resume changed copies of an unfinished run, up to its next step; a plan that differs now is refused, too."""
    from gru_complete.training.curve import read_curve  # here, so that the other cases do without torch
    from gru_complete.training.events import Stepped
    from gru_complete.training.run import run_training

    outcomes = []
    original = files_in(job.directory)
    corpus = job.directory.with_name("corpus.txt")
    for seed in job.seeds:
        rng = random.Random(seed)
        kind, attack = rng.choice(sorted(mutations.RUN_DIRECTORY.items()))
        changed = dict(original)
        attack(changed, rng)
        with tempfile.TemporaryDirectory() as name:
            copy = Path(name, "model.run")
            shutil.copytree(job.directory, copy)
            write_changes(copy, original, changed)

            def case(copy: Path = copy) -> None:
                training = run_training(request(corpus, copy.with_suffix("")), stop_signal=lambda: None)
                for event in training:
                    if isinstance(event, Stepped):
                        break
                training.close()
                read_curve(training_run_dir(copy))

            outcome = outcome_of(job.group, kind, case, allowed=(2, 4, 7))  # 7: weights with which a loss is infinite
        outcomes.append(outcome._replace(problem=outcome.problem and f"seed {seed}: {outcome.problem}"))
    return outcomes


def training_run_dir(path: Path):
    from gru_complete.model.run_dir import RunDir  # here, as torch

    return RunDir(path)


def request(corpus: Path, model: Path, *, replace: bool = False):
    """The request to train a tiny model."""
    from gru_complete.training.run import TrainingRequest  # here, so that the other cases do without torch

    config = load_config(None, SETTINGS)
    return TrainingRequest([str(corpus)], model, config, replace=replace, started=time.monotonic())


def train(corpus: Path, model: Path, *, stop_after: int | None = None) -> None:
    """Train a tiny model, or leave the run as a kill after a step leaves it."""
    from gru_complete.training.events import Stepped  # here, so that the other cases do without torch
    from gru_complete.training.run import run_training

    training = run_training(request(corpus, model), stop_signal=lambda: None)
    for event in training:
        if isinstance(event, Stepped) and event.step == stop_after:
            break
    training.close()


def attack_calls(job: Job) -> list[Outcome]:
    """Let the system calls numbered by ``seeds`` fail, each once or from then on; afterwards the same must work."""
    corpus = job.directory.with_name("corpus.txt")
    outcomes = []
    for seed in job.seeds:
        rng = random.Random(seed)
        fault, persistent = rng.choice(["ENOSPC", "EIO", "EDQUOT", "EACCES", "EROFS"]), rng.random() < 0.3
        with tempfile.TemporaryDirectory() as name:
            operation = OPERATIONS[job.group](Path(name), job.directory, corpus)

            faulty = FaultyOs(seed, fault, persistent=persistent)

            def case(operation: Callable[[], object] = operation, faulty: FaultyOs = faulty) -> None:
                with failing_calls(faulty):
                    operation()

            outcome = outcome_of(job.group, f"{fault}{', from then on' if persistent else ''}", case, allowed=(5,))
            if outcome.result == "refused":
                again = outcome_of(job.group, outcome.kind, operation, allowed=(4,) if job.group == "remove" else ())
                outcome = again if again.result == "failed" else outcome
        outcomes.append(outcome._replace(problem=outcome.problem and f"call {seed}: {outcome.problem}"))
    return outcomes


@contextlib.contextmanager
def failing_calls(calls: FaultyOs) -> Iterator[None]:
    modules = [module for module in (atomic, lock, os_calls) if hasattr(module, "os_calls")]
    before = [module.os_calls for module in modules]
    for module in modules:
        module.os_calls = calls
    try:
        yield
    finally:
        for module, original in zip(modules, before, strict=True):
            module.os_calls = original


def train_operation(place: Path, _: Path, corpus: Path) -> Callable[[], object]:
    model = place / "model"

    def operation() -> None:
        try:
            train(corpus, model)
        except UsageError:  # "exists": after the last sync has failed, which leaves nothing to do
            if not RunDir.beside(model).is_finished():
                raise
            load_model(model)  # whole, or the case fails

    return operation


def remove_operation(place: Path, run_dir: Path, _: Path) -> Callable[[], object]:
    shutil.copytree(run_dir, place / "model.run")
    shutil.copytree(run_dir.with_name("finished"), place / "model")
    return lambda: remove_model(place / "model", run_only=False)


def prime_operation(place: Path, run_dir: Path, _: Path) -> Callable[[], object]:
    completer = Completer.load(run_dir.with_name("finished"))
    return lambda: save_prompt_state(place / "text.state", completer.read(b"The cat"), completer)


OPERATIONS = {"train": train_operation, "remove": remove_operation, "prime": prime_operation}
ATTACKS = {"model": attack_models, "model from a base": attack_models, "run directory": attack_runs}
ATTACKS |= dict.fromkeys(OPERATIONS, attack_calls)


def count_calls(group: str, run_dir: Path) -> int:
    """How many system calls an operation makes."""
    with tempfile.TemporaryDirectory() as name:
        operation = OPERATIONS[group](Path(name), run_dir, run_dir.with_name("corpus.txt"))
        calls = FaultyOs()
        with failing_calls(calls):
            operation()
        return len(calls.log)


def run_job(job: Job) -> list[Outcome]:
    """A job, in a process of its own."""
    return ATTACKS[job.group](job)


def prepare_worker() -> None:
    signal.signal(signal.SIGALRM, too_long)
    warnings.simplefilter("ignore")
    os.environ["GRU_COMPLETE_KERNEL"] = "off"  # compiling it takes longer than a case


def limit_cases(model: Path, corpus: Path, place: Path, every: int) -> Iterator[tuple[str, int, int, list[str]]]:
    """Limits, their values, and the commands that run under them."""
    complete = ["complete", "The cat", "-m", str(model)]
    prime = ["prime", str(corpus), "-m", str(model), "--state-out", str(place / "limited.state")]
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    training = ["train", str(corpus), "-m", str(place / "limited"), "--replace", "-q", *settings]
    megabytes = [*range(20, 400, 5), 500, 1000][::every]
    yield from (("address space, MB", resource.RLIMIT_AS, n << 20, complete) for n in megabytes)
    yield from (("address space, MB", resource.RLIMIT_AS, n << 20, prime) for n in megabytes[::4])
    larger = [*range(400, 1500, 50), 2000, 3000][:: 2 * every]
    yield from (("address space, MB", resource.RLIMIT_AS, n << 20, training) for n in larger)
    for name, limit, values in [
        ("open files", resource.RLIMIT_NOFILE, range(5, 24, every)),
        ("processes", resource.RLIMIT_NPROC, range(0, 3, every) if os.getuid() else ()),  # nothing limits root
        ("file size", resource.RLIMIT_FSIZE, [0, 1, 100, 1000, 4096, 10_000, 100_000][::every]),
    ]:
        yield from ((name, limit, value, complete) for value in values)
        yield from ((name, limit, value, prime) for value in values)
        yield from ((name, limit, value, training) for value in list(values)[:: 3 * every])


def attack_limits(model: Path, corpus: Path, every: int) -> Iterator[Outcome]:
    """Run commands under limits: they work, or end with exit code 5."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        os.chmod(place, 0o777)
        environment = {**os.environ, "OMP_NUM_THREADS": "2", "GRU_COMPLETE_HOME": str(place / "home")}
        environment |= {"GRU_COMPLETE_KERNEL": "off", "PYTHONPATH": str(Path(__file__).parents[1])}
        for kind, limit, value, arguments in limit_cases(model, corpus, place, every):
            done = subprocess.run(
                [*GRU_COMPLETE, *arguments],
                preexec_fn=partial(resource.setrlimit, limit, (value, value)),
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=120,
            )
            result = {0: "worked", 5: "refused"}.get(done.returncode, "failed")
            said = f"exit code {done.returncode} with {value}: {done.stderr.decode()[-300:]}"
            yield Outcome(f"{arguments[0]} under limits", kind, result, said if result == "failed" else "")


def make_originals(place: Path, model: Path | None) -> dict[str, Path]:
    """A model, one whose training started from it, and an unfinished run, each to be attacked."""
    corpus = place / "corpus.txt"
    corpus.write_text(generate(20_000, seed=1))
    train(corpus, place / "model", stop_after=15)
    finished = place / "finished"
    if model is None:
        train(corpus, finished)
    else:
        shutil.copytree(model, finished)
    save_with_base(place / "from base", finished)
    return {"model": finished, "model from a base": place / "from base", "run directory": place / "model.run"}


def jobs_for(originals: dict[str, Path], options: argparse.Namespace) -> list[Job]:
    """All jobs, cut small enough to be spread over the workers."""
    rng = random.Random(options.seed)
    run_dir = originals["run directory"]
    cases = {"model": options.models - options.models // 4, "model from a base": options.models // 4}
    jobs = []
    for group, number in {**cases, "run directory": options.runs}.items():
        seeds = [rng.randrange(1 << 48) for _ in range(number)]
        jobs += [Job(group, originals[group], seeds[start : start + 50]) for start in range(0, number, 50)]
    for group in OPERATIONS if options.faults else ():
        calls = range(0, count_calls(group, run_dir), options.faults)
        jobs += [Job(group, run_dir, calls[start : start + 20]) for start in range(0, len(calls), 20)]
    return jobs


def print_table(outcomes: Sequence[Outcome]) -> None:
    counts = Counter((outcome.group, outcome.kind, outcome.result) for outcome in outcomes)
    kinds = sorted({(outcome.group, outcome.kind) for outcome in outcomes})
    print(f"{'attacked':<22} {'how':<24} {'tried':>6} {'worked':>7} {'refused':>8} {'failed':>7}")
    for group, kind in [*kinds, ("all", "")]:
        chosen = {
            result: sum(
                n for key, n in counts.items() if key[2] == result and group in ("all", key[0]) and kind in ("", key[1])
            )
            for result in ("worked", "refused", "failed")
        }
        figures = f"{sum(chosen.values()):>6} {chosen['worked']:>7} {chosen['refused']:>8} {chosen['failed']:>7}"
        print(f"{group:<22} {kind:<24} {figures}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="the model to attack; default: a tiny one")
    parser.add_argument("--models", type=int, default=5000, help="cases of models")
    parser.add_argument("--runs", type=int, default=1000, help="cases of run directories")
    parser.add_argument("--faults", type=int, default=1, metavar="N", help="every Nth system call fails; 0: none")
    parser.add_argument("--limits", type=int, default=1, metavar="N", help="every Nth limit is tried; 0: none")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    smoke = "--model {dir}/model --models 40 --runs 4 --faults 60 --limits 40 --workers 1"
    options = parse_arguments(parser, smoke=smoke)
    prepare_worker()
    with tempfile.TemporaryDirectory() as name:
        os.environ["GRU_COMPLETE_HOME"] = str(Path(name, "home"))
        os.chmod(name, 0o755)
        originals = make_originals(Path(name), options.model)
        outcomes: list[Outcome] = []
        context = multiprocessing.get_context("spawn")
        with context.Pool(options.workers, initializer=prepare_worker) as pool:
            for results in pool.imap_unordered(run_job, jobs_for(originals, options)):
                outcomes += results
        if options.limits:
            corpus = originals["run directory"].with_name("corpus.txt")
            outcomes += attack_limits(originals["model"], corpus, options.limits)
    for outcome in outcomes:
        if outcome.result == "failed":
            print(f"{outcome.group}, {outcome.kind}: {outcome.problem}", file=sys.stderr)
    print_table(outcomes)
    return any(outcome.result == "failed" for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main())
