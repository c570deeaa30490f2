"""Processes of this machine, by joblib."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator

from .common import Asked, Ended, Tasks


def carry_out(asked: Asked, tasks: Tasks) -> Generator[Ended, None, None]:
    """One after the other in this very process, or several processes; where one of them dies, all are started
    anew, since joblib cannot replace one.
    """
    if tasks.jobs <= 1:
        yield from (attempt(tasks.task, n, a) for n, a in enumerate(tasks.arguments))
        return
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    left = dict(enumerate(tasks.arguments))
    while left:
        working = Parallel(n_jobs=min(tasks.jobs, len(left)), batch_size=1, return_as="generator_unordered")
        results = working(delayed(attempt)(tasks.task, n, a) for n, a in [*left.items()])
        try:
            with contextlib.closing(results):
                for ended in results:
                    del left[ended.number]
                    yield ended
        except TerminatedWorkerError as error:
            for number in [*left][: tasks.jobs]:  # those that were at work, or nearly so
                if (given_up := tasks.again(number, str(error).splitlines()[0])) is not None:
                    del left[number]
                    yield given_up


def attempt(task: Callable, number: int, arguments: tuple) -> Ended:
    """Carry out one task here."""
    try:
        return Ended(number, task(*arguments))
    except Exception as error:
        return Ended(number, error=error)
