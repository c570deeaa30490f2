"""Dask: a scheduler at an address, or one with workers of this machine (package `distributed`)."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any

from .common import Asked, Ended, Tasks, stoppable, workers_wanted

ALONE = threading.Lock()  # one task at a time in a worker's process: torch's random numbers are the process's


def carry_out(asked: Asked, tasks: Tasks) -> Generator[Ended, None, None]:
    """A future a task. Dask gives the tasks of a dead worker to another one, and after some deaths calls
    it an error; those are submitted again.
    """
    import dask
    from distributed import Client, LocalCluster

    with contextlib.ExitStack() as stack:
        where: Any = asked.where
        if not where:
            # A worker that has not started again 15 seconds after its death is given up for good: on a busy
            # machine soon none would be left, and the tasks would wait for ever.
            stack.enter_context(dask.config.set({"distributed.deploy.lost-worker-timeout": "1h"}))
            here = {"n_workers": workers_wanted(tasks), "threads_per_worker": 1, "dashboard_address": None}
            where = stack.enter_context(LocalCluster(**here, memory_limit=0, silence_logs="CRITICAL"))
        try:
            client = stack.enter_context(Client(where, timeout="30s"))
        except OSError as error:
            raise ValueError(f"no Dask scheduler answers at {asked.where} ({error})") from None
        yield from _results(client, tasks)


def _results(client: Any, tasks: Tasks) -> Iterator[Ended]:
    from distributed import KilledWorker, as_completed

    needs = _needs(client, tasks)
    numbers: dict[Any, int] = {}  # of futures that have not ended

    def submit(number: int) -> Any:
        told = (tasks.task, tasks.arguments[number])
        future = client.submit(on_worker, *told, pure=False, resources=needs or None)
        numbers[future] = number
        return future

    try:
        waiting = as_completed([submit(number) for number in range(len(tasks.arguments))])
        for future in waiting:
            number = numbers.pop(future)
            error = None if future.status == "finished" else future.exception()
            if isinstance(error, KilledWorker):
                if (given_up := tasks.again(number, "killed")) is not None:
                    yield given_up
                else:
                    waiting.add(submit(number))
            elif error is not None:
                yield Ended(
                    number, error=error if isinstance(error, Exception) else RuntimeError(repr(error))
                )
            else:
                yield Ended(number, future.result())
    finally:
        if numbers:
            client.cancel([*numbers])  # they see it at the end of their epoch


def _needs(client: Any, tasks: Tasks) -> dict[str, float]:
    """What of a task's resources the workers name: of these they have no more at once than they say. A worker
    that names none carries out a task a thread, whose number is said where it is of no use.
    """
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    if many := max((worker["nthreads"] for worker in workers), default=1) - 1:
        print(
            f"workers of {many + 1} threads train one cell at a time: start them with --nthreads 1 and more "
            "--nworkers",
            file=sys.stderr,
        )
    named = {name for worker in workers for name in worker.get("resources", {})}
    asks = {"CPU": tasks.resources.cpus, "GPU": tasks.resources.gpus, "MEMORY": tasks.resources.memory * 1e9}
    return {name: n for name, n in asks.items() if n and name in named}


def on_worker(task: Callable, arguments: tuple) -> Any:
    """Carry out a task in a thread of a worker; one that is cancelled ends with its epoch."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def cancelled() -> bool:
        known = worker.state.tasks.get(key)
        return known is None or known.state == "cancelled"

    with ALONE, stoppable(cancelled):
        try:
            return task(*arguments)
        except KeyboardInterrupt:  # would end the worker
            return None
