"""The GRU's time loops in C (``kernel.c``), compiled on the machine that trains; off until ``enable``.

The user's own compiler builds the library for this processor, in a private directory that is deleted as soon as the
library is loaded: about a second, once a training, and no cache that could be stale or forged. The library is used only
after its values and gradients have been compared with the cell's equations (``cells``). Without a compiler, or if
anything else fails, ``enable`` says so and the loops of ``sequence`` run in torch, with the same results to rounding.

The threads are those of torch: a second OpenMP runtime would spin while it waits for its turn, and take the processor
from the first. So the library is compiled with OpenMP and linked without it, and the loader finds the runtime that
torch has loaded.

Whether the kernel is enabled is a state of the process, as torch's number of threads is: it changes the speed, and the
results only by rounding.

Shapes: T time steps, B rows, H hidden_size.
"""

from __future__ import annotations

import ctypes
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import Tensor

from gru_complete.nn.cells import GRUCell

SOURCE = Path(__file__).with_name("kernel.c")
SWITCH = "GRU_COMPLETE_KERNEL"
"""An environment variable; "off" means no compiled code."""
COMPILE_SECONDS = 10  # about ten times what it takes; a compiler that takes longer is not asked again
FLAGS = ("-O3", "-std=gnu11", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd")
# The first that the compiler accepts is used. By default it takes half of a wide vector; on ARM it may want "-mcpu".
PROCESSOR_FLAGS = (("-march=native", "-mprefer-vector-width=512"), ("-march=native",), ("-mcpu=native",), ())


class Kernel:
    """The compiled loops.

    Args:
        library: ``kernel.c``, loaded.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        pointer, number = ctypes.c_void_p, ctypes.c_long
        sizes = [number, number, number, ctypes.c_int]
        library.gru_workspace.restype = number
        library.gru_workspace.argtypes = [number, number]
        library.gru_max_rows.restype = number
        library.gru_has_threads.restype = ctypes.c_int
        library.gru_forward.restype = None
        library.gru_forward.argtypes = [*sizes, *[pointer] * 6]
        library.gru_backward.restype = None
        library.gru_backward.argtypes = [*sizes, *[pointer] * 8]
        self._library = library
        self.max_rows = int(library.gru_max_rows())
        self.has_threads = bool(library.gru_has_threads())

    def can_run(self, products: Tensor) -> bool:
        """Whether the loops can run on input products like these, ``(T, B, 3H)``."""
        return (
            products.device.type == "cpu"
            and products.dtype == torch.float32
            and 0 < products.shape[1] <= self.max_rows
            and (self.has_threads or torch.get_num_threads() == 1)
        )

    def forward(
        self, weight_h: Tensor, keep: Tensor | None, states: Tensor, products: Tensor, reset_states: Tensor
    ) -> None:
        """Run the loop forward, in place of ``sequence``'s; all tensors are float32 and contiguous.

        Args:
            weight_h: ``(3H, H)``.
            keep: ``(T, B)`` or None.
            states: ``(T + 1, B, H)``, of which the first is set; the others are filled in.
            products: the input products ``(T, B, 3H)``; overwritten with the gates u, r, c.
            reset_states: filled with r*h, ``(T, B, H)``.
        """
        self._run(self._library.gru_forward, weight_h, keep, states, products, reset_states)

    def backward(
        self, weight_h: Tensor, keep: Tensor | None, states: Tensor, gates: Tensor, grad_hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run the loop backward; all tensors are float32 and contiguous.

        Args:
            weight_h: ``(3H, H)``.
            keep: ``(T, B)`` or None.
            states: ``(T + 1, B, H)``.
            gates: as ``forward`` left them, ``(T, B, 3H)``.
            grad_hidden: gradient of every step's output, ``(T, B, H)``.

        Returns:
            The gradients of the input products ``(T, B, 3H)`` and of the first state ``(B, H)``.
        """
        d_products, d_start = torch.empty_like(gates), torch.empty_like(states[0])
        self._run(self._library.gru_backward, weight_h, keep, states, gates, grad_hidden, d_products, d_start)
        return d_products, d_start

    def _run(self, function: ctypes._NamedFuncPointer, weight_h: Tensor, keep: Tensor | None, *tensors: Tensor) -> None:
        """Call a C function with the sizes, the number of threads and the addresses of all tensors."""
        num_states, num_rows, size = tensors[0].shape  # the states, (T + 1, B, H)
        workspace = weight_h.new_empty(self._library.gru_workspace(num_rows, size))
        arguments = (weight_h, keep, *tensors, workspace)
        assert all(tensor is None or (tensor.is_contiguous() and tensor.dtype == torch.float32) for tensor in arguments)
        addresses = [None if tensor is None else tensor.data_ptr() for tensor in arguments]
        function(num_states - 1, num_rows, size, torch.get_num_threads(), *addresses)


_active: Kernel | None = None
_hanging_compiler: str | None = None
_compiler: subprocess.Popen[bytes] | None = None  # that runs at present
_is_stopped = False
# Written into plan.json, which a resumed training compares.
_description = "torch: the compiled kernel was not asked for"


class CompilingStoppedError(Exception):
    """``stop_compiling`` was called."""


def stop_compiling() -> None:
    """End the compiler that another thread waits for, which gets ``CompilingStoppedError``; likewise any later one."""
    global _is_stopped
    _is_stopped = True
    if (process := _compiler) is not None:
        with suppress(OSError):  # it has just ended
            _kill(process)


def allow_compiling() -> None:
    """Undo ``stop_compiling``, once the other thread has ended."""
    global _is_stopped
    _is_stopped = False


def enable() -> str:
    """Compile, load and check the kernel, so that ``sequence`` uses it from now on in this process.

    If the compiler did not end in time, ``hanging_compiler`` names it.

    Returns:
        What runs from now on and, if that is torch, why; see ``description``. A missing compiler is not an error.
    """
    global _active, _description
    if _active is not None:
        return _description
    if is_switched_off():
        _description = f"torch: {SWITCH}=off"
        return _description
    try:
        kernel, compiler = _build()
        _check(kernel)
    except (OSError, subprocess.SubprocessError, AttributeError, ValueError) as error:
        _description = f"torch: no compiled kernel ({_first_line(error)})"
    else:
        _active, _description = kernel, f"compiled kernel ({compiler})"
    return _description


def disable() -> None:
    """Let ``sequence`` use torch again."""
    global _active, _description
    _active, _description = None, "torch: the compiled kernel is switched off"


@contextmanager
def paused() -> Iterator[None]:
    """Within this block torch runs, even if the kernel is enabled: to compare the two."""
    global _active
    before, _active = _active, None
    try:
        yield
    finally:
        _active = before


def description() -> str:
    """Which loops run, torch's or the kernel's, and why."""
    return _description


def hanging_compiler() -> str | None:
    """The compiler that did not end within ``COMPILE_SECONDS`` in this process, if one did not."""
    return _hanging_compiler


def active_for(products: Tensor) -> Kernel | None:
    """The kernel, if it is enabled and can run on input products like these, ``(T, B, 3H)``."""
    return _active if _active is not None and _active.can_run(products) else None


def is_switched_off() -> bool:
    """Whether the user has switched compiled code off."""
    return os.environ.get(SWITCH, "").lower() == "off"


def users_compiler() -> list[str]:
    """The C compiler's command. It runs in another directory, so that a path to it is made absolute."""
    program, *options = shlex.split(os.environ.get("CC", "")) or ["cc"]
    return [os.path.abspath(program) if os.path.dirname(program) else program, *options]


def _build() -> tuple[Kernel, str]:
    """Compile and load the kernel; return it and the name of its compiler.

    Raises:
        OSError: there is no compiler, no directory to compile in, or the library cannot be loaded.
        subprocess.SubprocessError: the source does not compile here.
    """
    compiler = users_compiler()
    problem: Exception | None = None
    with tempfile.TemporaryDirectory(prefix="gru-complete-") as directory:
        for threads in (True, False):
            for processor in PROCESSOR_FLAGS:
                library = Path(directory) / f"kernel-{threads}{''.join(processor)}.so"
                try:
                    compile_library(compiler, SOURCE, [*FLAGS, *processor], library, threads=threads)
                    return Kernel(ctypes.CDLL(str(library))), compiler[0]
                except FileNotFoundError:
                    raise
                except (OSError, subprocess.CalledProcessError) as error:
                    problem = problem or error
    assert problem is not None
    raise problem


def compile_library(compiler: list[str], source: Path, flags: list[str], library: Path, *, threads: bool) -> None:
    """Compile one C source to a shared library.

    The compiler runs where the library goes, so that it finds nothing in the current directory, which may be a
    stranger's: no ``cc`` by a ``.`` in the search path, no header, no file of options.

    Args:
        compiler: its command.
        source: the C file.
        flags: for the compiler.
        library: the file to write, in a directory that holds nothing else but what was compiled before.
        threads: whether to use OpenMP, with the runtime that torch has loaded.

    Raises:
        OSError: there is no compiler.
        subprocess.SubprocessError: it does not compile the source, or takes too long.
    """

    def call(*arguments: str) -> None:
        _call_compiler([*compiler, *arguments], library.parent)

    if not threads:
        call(*flags, str(source.absolute()), "-o", str(library))
        return
    # In two steps: given -fopenmp, the linker would add a runtime of its own.
    compiled = library.with_suffix(".o")
    call(*(flag for flag in flags if flag != "-shared"), "-fopenmp", "-c", str(source.absolute()), "-o", str(compiled))
    call("-shared", str(compiled), "-o", str(library))


def _call_compiler(command: list[str], directory: Path) -> None:
    """Run the compiler, unless it has hung before; if it takes too long, end it with all processes that it started.

    Raises:
        OSError: there is no compiler.
        subprocess.SubprocessError: it fails, or takes too long.
        CompilingStoppedError: another thread wants no compiler any more.
    """
    global _hanging_compiler, _compiler
    if _is_stopped:
        raise CompilingStoppedError
    if _hanging_compiler is not None:
        raise subprocess.TimeoutExpired(command, COMPILE_SECONDS)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=directory,
        start_new_session=True,  # Ctrl-C asks the training to stop and save, not the compiler to fail
    ) as process:
        _compiler = process
        try:
            said = process.communicate(timeout=COMPILE_SECONDS)[1]
        except BaseException as error:
            if isinstance(error, subprocess.TimeoutExpired):
                _hanging_compiler = command[0]
            _kill(process)
            raise
        finally:
            _compiler = None
    if _is_stopped:
        raise CompilingStoppedError
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=said)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a compiler with all processes that it started."""
    if sys.platform == "win32":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)


def _check(kernel: Kernel) -> None:
    """Compare the kernel with autograd through the cell's equations, on sizes that are no multiple of a tile or vector.

    Raises:
        ValueError: the results differ by more than rounding.
    """
    num_steps, num_rows, size = 4, 5, 37
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    with torch.random.fork_rng(devices=[]):  # making a cell draws weights; training's generator must not advance
        cell = GRUCell(1, size)
    weight = draw(3 * size, size) / size**0.5
    cell.weight_h.data.copy_(weight)
    products, start, grad_hidden = draw(num_steps, num_rows, 3 * size), draw(num_rows, size), draw(4, num_rows, size)
    keep = torch.ones(num_steps, num_rows)
    keep[0, 1] = keep[2, 0] = keep[2, 3] = 0

    states = torch.cat([start[None], torch.empty(num_steps, num_rows, size)])
    gates, reset_states = products.clone(), torch.empty(num_steps, num_rows, size)
    kernel.forward(weight, keep, states, gates, reset_states)
    d_products, d_start = kernel.backward(weight, keep, states, gates, grad_hidden)

    with torch.enable_grad():
        leaves = products.requires_grad_(), start.requires_grad_()
        state, outputs = start[None], []
        for products_t, keep_t in zip(products, keep, strict=True):
            state = cell.step(products_t, state * keep_t[:, None])
            outputs.append(state[0])
        expected = torch.autograd.grad((torch.stack(outputs) * grad_hidden).sum(), leaves)
    for ours, theirs in [(states[1:], torch.stack(outputs)), (d_products, expected[0]), (d_start, expected[1])]:
        if not torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5):
            message = "its results differ from the cell's equations"
            raise ValueError(message)


def _first_line(error: Exception) -> str:
    """The line of a compiler's or the system's message that says most."""
    if isinstance(error, subprocess.CalledProcessError):
        said = error.stderr.decode(errors="replace").strip().splitlines()
        return next((line for line in said if "error" in line), f"{error.cmd[0]} failed")
    if isinstance(error, subprocess.TimeoutExpired):
        return f"{error.cmd[0]} did not end within {COMPILE_SECONDS} s"
    # Without the directory's name, which differs each time: descriptions of equal machines must be equal.
    said = getattr(error, "strerror", None) or re.sub(r"\S*gru-complete-\S*", "", str(error)).strip(" :")
    return str(said).splitlines()[0] if said else type(error).__name__
