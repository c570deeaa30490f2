"""One training on several processes, the ranks: each has the whole program and does a part of the work.

All ranks run the same lines with the same random numbers. Two things are divided, and whoever asks for them
gets the whole on every rank:

    by_rows(fn, x, parameters)   what a network makes of a batch, each rank of its rows, with gradients
    in_turn(own, number)         chunks of images, each read and augmented by one rank

All else (losses, choices, tables by image, a network's last layer) is computed from the whole by every rank,
to the same numbers. So a method is the same text for one rank and for many; only where it calls parts of a
network that are not a `Classifier` may it ask for `by_rows` itself.

With one rank, which is when torch.distributed is not initialised, each of these is the plain call.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..files import RunError
from .batch_norm import OverRanks

T = TypeVar("T")
_alone = False


def count() -> int:
    """How many ranks share the work; 1 within `alone`."""
    return 1 if _alone or not (dist.is_available() and dist.is_initialized()) else dist.get_world_size()


def rank() -> int:
    """The number of this one, from 0."""
    return dist.get_rank() if count() > 1 else 0


def first() -> bool:
    """Whether this is the rank that writes files and talks."""
    return rank() == 0


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Within it nothing is shared: for what the other ranks do not do, or do with other images."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Within it a rank that is lost is a RunError; torch says it in words of its own."""
    try:
        yield
    except RuntimeError as error:  # what gloo and NCCL raise
        raise RunError(
            f"rank {dist.get_rank()} of {dist.get_world_size()} has lost the others "
            f"({str(error).splitlines()[0][:120]}): the same command goes on from the last finished epoch"
        ) from error


# ---- the two things that are divided -----------------------------------------------------------------------


def by_rows(fn: Callable[[Tensor], Tensor], x: Tensor, parameters: Iterable[nn.Parameter]) -> Tensor:
    """fn(x), each rank having computed its own rows; the result and its gradients are those of one rank.

    fn: of images (B, ...) to (B, ...), row by row; BatchNorm in training sees all rows, see `batch_norm`.
    parameters: of whatever fn computes with. Each rank must go on with the whole result in the same way:
    gradients of x and of the parameters are those of one loss, not of a loss a rank.
    """
    if count() == 1 or len(x) < count():
        return fn(x)
    weights = [p for p in parameters if p.requires_grad]
    if torch.is_grad_enabled() and (weights or x.requires_grad):
        return _Rows.apply(fn, x, *weights)
    start, stop = own(len(x))
    return gathered(_part(fn, x[start:stop]), len(x))


class _Rows(torch.autograd.Function):
    """`by_rows` with gradients. Each rank keeps the graph of its own rows until they are asked for."""

    @staticmethod
    def forward(ctx, fn, x: Tensor, *weights: nn.Parameter) -> Tensor:
        start, stop = own(len(x))
        part = x[start:stop].detach().requires_grad_(x.requires_grad)
        with torch.enable_grad():
            result = _part(fn, part)
        ctx.graph, ctx.rows = (part, result, weights), len(x)
        whole = gathered(result.detach(), len(x))
        if not result.requires_grad:  # of the parameters, those that fn uses are frozen
            ctx.mark_non_differentiable(whole)
        return whole

    @staticmethod
    def backward(ctx, gradient: Tensor):
        part, result, weights = ctx.graph
        start, stop = own(ctx.rows)
        inputs = [part, *weights] if part.requires_grad else [*weights]
        found = list(torch.autograd.grad(result, inputs, gradient[start:stop], allow_unused=True))
        of_part = found.pop(0) if part.requires_grad else None
        ctx.graph = None
        of_x = None if of_part is None else gathered(of_part, ctx.rows)
        return None, of_x, *summed(found)


def _part(fn: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """fn of this rank's rows, its batch norms over those of all ranks."""
    with OverRanks(statistics_of_all, sum_of_all), alone():
        return fn(x)


def in_turn(own_chunks: Iterator[list[Tensor]], number: int) -> Iterator[list[Tensor]]:
    """All chunks 0, 1, ... of `number`, of which each rank has made every count-th, its rank's first.

    While one rank makes its chunk, so do the others.
    """
    ranks = count()
    if ranks == 1:
        yield from own_chunks
        return
    for start in range(0, number, ranks):
        mine = next(own_chunks) if start + rank() < number else []
        for owner in range(min(ranks, number - start)):
            yield _from(owner, mine if owner == rank() else [])


def _from(owner: int, tensors: list[Tensor]) -> list[Tensor]:
    """A rank's tensors, at every rank."""
    told: list[Any] = [[(t.shape, t.dtype, t.device.type) for t in tensors]]
    with together():
        dist.broadcast_object_list(told, src=owner)
        device = torch.device(torch.cuda.current_device()) if torch.cuda.is_available() else None
        places = [device if kind == "cuda" else torch.device(kind) for _, _, kind in told[0]]
        if owner != dist.get_rank():
            tensors = [torch.empty(s, dtype=d, device=p) for (s, d, _), p in zip(told[0], places)]
        tensors = [t.contiguous() for t in tensors]
        for t in tensors:
            dist.broadcast(_bytes(t), src=owner)
    return tensors


# ---- what they are made of ---------------------------------------------------------------------------------


def own(rows: int) -> tuple[int, int]:
    """(start, stop) of this rank's rows; the ranks' numbers of rows differ by at most one."""
    return rows * rank() // count(), rows * (rank() + 1) // count()


def gathered(part: Tensor, rows: int) -> Tensor:
    """The rows of all ranks, (rows, ...), from each one's own; no gradient passes."""
    if count() == 1:
        return part
    ranks, most = count(), -(-rows // count())
    sent = part.new_zeros((most, *part.shape[1:]))
    sent[: len(part)] = part
    found = part.new_empty((ranks, most, *part.shape[1:]))
    with together():
        dist.all_gather(list(_bytes(found).view(ranks, -1).unbind(0)), _bytes(sent))
    if rows == ranks * most:
        return found.flatten(0, 1)
    kept = [rows * (r + 1) // ranks - rows * r // ranks for r in range(ranks)]
    return torch.cat([of_rank[:n] for of_rank, n in zip(found, kept)])


def by_parts(fn: Callable[[int, int], Tensor], rows: int) -> Tensor:
    """(rows, ...) where each rank computes fn(start, stop) of its own rows alone."""
    if count() == 1 or rows < count():
        return fn(0, rows)
    start, stop = own(rows)
    with alone():
        part = fn(start, stop)
    return gathered(part, rows)


def summed(tensors: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
    """Each tensor's sum over the ranks, as one message; None, the same on every rank, stays None."""
    there = [t for t in tensors if t is not None]
    if not there:
        return tensors
    flat = sum_of_all(torch.cat([t.flatten() for t in there]))
    parts = iter(flat.split([t.numel() for t in there]))
    return [None if t is None else next(parts).view(t.shape) for t in tensors]


def sum_of_all(values: Tensor) -> Tensor:
    """The sum over the ranks, in place."""
    with together():
        dist.all_reduce(values)
    return values


def statistics_of_all(values: Tensor) -> Tensor:
    """(ranks, n) from every rank's values (n,)."""
    found = values.new_empty(dist.get_world_size(), len(values))
    with together():
        dist.all_gather(list(found.unbind(0)), values)
    return found


def _bytes(t: Tensor) -> Tensor:
    """A contiguous tensor's memory, which every backend can send."""
    return t.view(-1).view(torch.uint8)


# ---- what one rank decides ---------------------------------------------------------------------------------


def told(fn: Callable[[], T]) -> T:
    """What the first rank's fn() returns, at every rank; the others do not call it."""
    if count() == 1:
        return fn()
    values: list[Any] = [None]
    if first():
        with alone():
            values = [fn()]
    with together():
        dist.broadcast_object_list(values, src=0)
    return values[0]


def one_first(fn: Callable[[], T]) -> T:
    """fn() at every rank, by the first before the others, which find what it has put into caches."""
    if count() == 1:
        return fn()
    made = fn() if first() else None
    wait()
    return fn() if made is None else made


def wait() -> None:
    """Until every rank is here."""
    if count() > 1:
        with together():
            dist.barrier()


def of_all(value: T) -> list[T]:
    """Every rank's value, at every rank."""
    if count() == 1:
        return [value]
    found: list[Any] = [None] * count()
    with together():
        dist.all_gather_object(found, value)
    return found


def unlike(values: Mapping[str, Hashable]) -> list[str]:
    """The names under which not every rank has the same value."""
    found = of_all(values)
    return [name for name in values if len({of_rank[name] for of_rank in found}) > 1]
