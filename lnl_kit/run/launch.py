"""Processes that train together: joining those that torchrun has started, starting them for `--devices`."""

from __future__ import annotations

import contextlib
import datetime
import os
import sys
import uuid
from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist

from ..data.parallel import cores
from .device import find_device

PATIENCE = datetime.timedelta(hours=2)  # the first rank reads the data set while the others wait


def devices_of(text: str) -> list[str]:
    """The devices in `0,1` or `cuda:0,cuda:1` or `cpu,cpu`, one for each process. Raises ValueError."""
    names = [name.strip() for name in text.split(",")]
    names = [f"cuda:{name}" if name.isdecimal() else name for name in names]
    for name in names:
        if name == "auto":
            raise ValueError(f"devices {text!r} is not allowed: name each, such as 0,1 or cpu,cpu")
        find_device(name)
    twice = sorted({name for name in names if names.count(name) > 1 and name != "cpu"})
    if twice:
        raise ValueError(f"devices {text!r} names {', '.join(twice)} twice: one process a GPU")
    return names


def check(compile: str, ranks: int) -> None:
    """Raise ValueError for what several ranks cannot do."""
    if ranks > 1 and compile not in ("auto", "off"):
        raise ValueError(f"compile {compile} is not possible on {ranks} ranks: --compile off, or one device")


def started() -> bool:
    """Whether torchrun has started this process beside others."""
    return dist.is_available() and dist.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1


def meet(backend: str) -> None:
    """`init_process_group` where torchrun says.

    On one machine torchrun keeps its store when it starts the ranks again, and with it the addresses of ranks
    that are dead (torch 2.14): each attempt has keys of its own. The count of attempts is a machine's own, so
    it is no key for several.
    """
    store, rank, ranks = next(iter(dist.rendezvous("env://", timeout=PATIENCE)))
    if os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]:
        store = dist.PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=ranks, timeout=PATIENCE)


@contextlib.contextmanager
def joined(device: str, devices: Sequence[str] = ()) -> Iterator[str]:
    """Within it this process is a rank among those that torchrun has started, if it has; yields its device.

    device: as asked for, "auto" or "cuda" being the GPU of this process's number on its machine. devices: one
    for each process on this machine instead. GPUs speak by NCCL, CPUs by gloo. On ranks but the first nothing
    is printed, but for what an error says.
    """
    if not started():
        yield device
        return
    local = int(os.environ["LOCAL_RANK"])
    if devices:
        device = devices[local]
    elif device in ("auto", "cuda"):
        device = f"cuda:{local}" if torch.cuda.is_available() else "cpu"
    on_gpu = find_device(device).type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    meet("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    with contextlib.ExitStack() as quiet:
        if dist.get_rank():
            nowhere = quiet.enter_context(open(os.devnull, "w"))
            quiet.enter_context(contextlib.redirect_stdout(nowhere))
            quiet.enter_context(contextlib.redirect_stderr(nowhere))
        yield device
    dist.destroy_process_group()


def start(arguments: Sequence[str], ranks: int) -> int:
    """Carry out `lnl ARGUMENTS` in so many processes on this machine, as torchrun does; the exit status.

    The CPU's cores are divided among them.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // ranks)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "lnl_kit.cli", *arguments)
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        return code if code > 0 else 128 - code  # ended by a signal: as a shell says it
    return 0
