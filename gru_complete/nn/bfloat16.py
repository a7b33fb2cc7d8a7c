"""Training in bfloat16 on processors that multiply it faster: the C library ``bfloat16.c`` and its functions.

Weights, states, sums and everything between products stay float32; a product's operands are rounded once. The library
is compiled as ``kernel``'s is, and used only if it then computes the cell's equations (``cells``). Products of many
rows are torch's, which are as fast where it has oneDNN.

Shapes: T time steps, B rows, H hidden_size, V vocab_size, N tokens of a chunk in all rows.
"""

from __future__ import annotations

import ctypes
import platform
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gru_complete.nn import kernel
from gru_complete.nn.cells import GRUCell

BFLOAT16 = torch.bfloat16
SOURCE = Path(__file__).with_suffix(".c")
CPUINFO = Path("/proc/cpuinfo")
FLAGS = ["-O3", "-mprefer-vector-width=512", "-fPIC", "-shared"]
"""Without unsafe arithmetic, so that NaN and infinities pass through."""
INSTRUCTIONS = {
    ("amx_bf16", "amx_tile"): ["-march=sapphirerapids"],
    ("avx512_bf16", "avx512bw", "avx512dq", "avx512vl"): ["-march=x86-64-v4", "-mavx512bf16"],
}
"""The compiler's flags for what can multiply bfloat16, by the processor's in ``CPUINFO``. First matrix units; without
them vectors, which take half the time of float32."""


def is_available(device: torch.device) -> bool:
    """Whether training on this device can use bfloat16; not on a GPU, where the time loop waits for launches anyway."""
    return device.type == "cpu" and library() is not None


@cache
def library() -> ctypes.CDLL | None:
    """The compiled library; None without such instructions or a compiler, or if its results are wrong."""
    if kernel.is_switched_off() or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    for flags in available_instructions():
        with suppress(OSError, subprocess.SubprocessError, AttributeError, ValueError):
            loaded = _compile(flags)
            if loaded.permit_tiles() == 0 and _computes_the_cell(loaded):
                return loaded
    return None


def available_instructions() -> list[list[str]]:
    """The compiler's flags for those ``INSTRUCTIONS`` that the processor has; others would kill the program."""
    if platform.machine() != "x86_64":
        return []
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:  # not Linux
        return []
    there = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    return [flags for needed, flags in INSTRUCTIONS.items() if there.issuperset(needed)]


def _compile(flags: list[str]) -> ctypes.CDLL:
    """Compile and load the library.

    Raises:
        OSError: there is no compiler, no directory to compile in, or the library cannot be loaded.
        subprocess.SubprocessError: the source does not compile here.
    """
    with tempfile.TemporaryDirectory(prefix="gru-complete-") as directory:
        path = Path(directory, "bfloat16.so")
        kernel.compile_library(kernel.users_compiler(), SOURCE, [*FLAGS, *flags], path, threads=True)
        return ctypes.CDLL(str(path))


def _computes_the_cell(loaded: ctypes.CDLL) -> bool:
    """Whether a short sequence has the values and gradients of the cell's equations, up to rounding."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):  # making a cell draws weights; training's generator must not advance
        cell = GRUCell(32, 64)
    cell.reset_parameters(generator=generator)
    x, grad = torch.randn(3, 16, 32, generator=generator), torch.randn(3, 16, 64, generator=generator)
    start = torch.randn(16, 64, generator=generator, requires_grad=True)
    with torch.enable_grad():
        states = [start.unsqueeze(0)]
        for x_t in x:
            states.append(cell(x_t, states[-1]))
        hidden = torch.cat(states[1:])
        d_weight_x, d_bias, d_start = torch.autograd.grad(hidden, [cell.weight_x, cell.bias, start], grad)
    with torch.no_grad():
        gates = product(x.flatten(0, 1), cell.weight_x.t()).view(3, 16, -1)
        ours, seen, _ = gru_forward(gates, cell.bias, start, None, cell.weight_h, loaded)
        d_products, our_bias, our_start = gru_backward(grad, gates, None, cell.weight_h, seen, loaded)
        our_weight_x = product(d_products.flatten(0, 1).t(), x.flatten(0, 1))
        pairs = [(ours[1:], hidden), (our_weight_x, d_weight_x), (our_bias, d_bias), (our_start, d_start)]
        return all(bool((our - its).norm() < 0.02 * its.norm()) for our, its in pairs)


def _call(loaded: ctypes.CDLL | None, name: str, *arguments: Tensor | int | float | None) -> None:
    """Call a function of the library; tensors are passed as addresses and must be contiguous."""
    loaded = loaded or library()
    assert loaded is not None
    converted: list[Any] = []
    for argument in arguments:
        if isinstance(argument, Tensor):
            assert argument.is_contiguous()
            converted.append(ctypes.c_void_p(argument.data_ptr()))
        elif isinstance(argument, float):
            converted.append(ctypes.c_float(argument))
        else:
            converted.append(None if argument is None else ctypes.c_long(argument))
    getattr(loaded, name)(*converted)


def product(left: Tensor, right: Tensor) -> Tensor:
    """``left @ right`` of matrices in bfloat16, summed in float32, the result rounded to bfloat16."""
    return torch.mm(left.to(BFLOAT16), right.to(BFLOAT16))


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """``x @ weight.T`` with operands and result in bfloat16; from the last axis of x to the first of the weight."""
    result: Tensor = _Linear.apply(x.flatten(0, -2), weight)  # type: ignore[no-untyped-call]
    return result.view(*x.shape[:-1], -1)


class _Linear(torch.autograd.Function):
    """A product of bfloat16 operands. Autograd's own would convert them a second time for the gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        x, weight = x.to(BFLOAT16), weight.to(BFLOAT16)
        ctx.save_for_backward(x, weight)
        return product(x, weight.t())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return product(grad, weight), product(grad.t(), x)


def drop(x: Tensor, dropped: int) -> Tensor:
    """Dropout: zero ``dropped`` of 256 features and scale up the others, float32 to bfloat16, by torch's generator."""
    seed = int(torch.empty((), dtype=torch.int64).random_(-(2**63), None))
    result: Tensor = _Drop.apply(x.contiguous(), seed, dropped)  # type: ignore[no-untyped-call]
    return result


class _Drop(torch.autograd.Function):
    """Dropout in one pass over memory, where autograd would take four."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, seed: int, dropped: int) -> Tensor:
        ctx.choice = seed, dropped, 256 / (256 - dropped)
        result = torch.empty_like(x, dtype=BFLOAT16)
        _call(None, "drop", x.numel(), torch.get_num_threads(), *ctx.choice, x, result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad = grad.contiguous()
        result = torch.empty_like(grad, dtype=torch.float32)
        _call(None, "drop_backward", grad.numel(), torch.get_num_threads(), *ctx.choice, grad, result)
        return result, None, None


def fits(num_rows: int, hidden_size: int) -> bool:
    """Whether the GRU's kernel can run such shapes: whole tiles only, also where vectors multiply."""
    return num_rows % 16 == 0 and hidden_size % 32 == 0


def gru_forward(
    gates: Tensor,
    bias: Tensor,
    start: Tensor,
    keep: Tensor | None,
    weight_h: Tensor,
    loaded: ctypes.CDLL | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the GRU forward.

    Args:
        gates: products of the inputs, without bias, bfloat16 ``(T, B, 3H)``; overwritten with the gates u, r, c.
        bias: ``(3H,)``.
        start: state before the first step, ``(B, H)``.
        keep: ``(T, B, 1)`` or None.
        weight_h: ``(3H, H)``.
        loaded: the library, while ``library()`` is still being made.

    Returns:
        States h ``(T + 1, B, H)`` with the start first, and the operands of the products in bfloat16: the states after
        ``keep``, and r*h, ``(T, B, H)`` each.
    """
    num_steps, num_rows, _ = gates.shape
    size = weight_h.shape[1]
    states = start.new_empty(num_steps + 1, num_rows, size)
    states[0] = start
    seen, reset_states = (torch.empty_like(states[1:], dtype=BFLOAT16) for _ in range(2))
    scratch = torch.empty_like(weight_h, dtype=BFLOAT16), torch.empty_like(start)
    sizes = (num_steps, num_rows, size, torch.get_num_threads())
    _call(loaded, "gru_forward", *sizes, gates, bias, keep, weight_h, states, seen, reset_states, *scratch)
    return states, seen, reset_states


def gru_backward(
    grad_hidden: Tensor,
    gates: Tensor,
    keep: Tensor | None,
    weight_h: Tensor,
    seen: Tensor,
    loaded: ctypes.CDLL | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the GRU backward through time.

    Args:
        grad_hidden: gradient of every step's output, ``(T, B, H)``.
        gates: as ``gru_forward`` left them.
        keep: ``(T, B, 1)`` or None.
        weight_h: ``(3H, H)``.
        seen: the states after ``keep``, as ``gru_forward`` returned them.
        loaded: as in ``gru_forward``.

    Returns:
        Gradients before the nonlinearities, bfloat16 ``(T, B, 3H)``, their float32 sums ``(3H,)``, and the gradient of
        the start state ``(B, H)``.
    """
    num_steps, num_rows, size = seen.shape
    d_products = torch.empty_like(gates)
    d_bias, d_state = weight_h.new_zeros(3 * size), weight_h.new_zeros(num_rows, size)
    packed = torch.empty_like(weight_h, dtype=BFLOAT16)
    sizes = (num_steps, num_rows, size, torch.get_num_threads())
    arguments = (grad_hidden, gates, keep, weight_h, seen, d_products, d_bias, d_state, packed)
    _call(loaded, "gru_backward", *sizes, *arguments)
    return d_products, d_bias, d_state


def softmax_gradient(scores: Tensor, bias: Tensor, targets: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Compute the losses, and overwrite the scores with the gradient of the losses' sum divided by ``count``.

    Args:
        scores: without bias, bfloat16 ``(N, V)``; overwritten.
        bias: ``(V,)``.
        targets: int64 ``(N,)``.
        count: the number of tokens that the mean is over.

    Returns:
        ``-log softmax(scores + bias)`` at the targets ``(N,)``, and the bias's gradient ``(V,)``.
    """
    threads = torch.get_num_threads()
    num_tokens, vocab_size = scores.shape
    losses = bias.new_empty(num_tokens)
    d_bias, scratch = bias.new_zeros(threads, vocab_size), bias.new_empty(threads, vocab_size)
    sizes = (num_tokens, vocab_size, threads)
    _call(None, "softmax_gradient", *sizes, scores, bias, targets, float(count), losses, d_bias, scratch)
    return losses, d_bias.sum(0)
