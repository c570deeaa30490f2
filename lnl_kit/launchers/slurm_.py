"""Slurm, by submitit. `slurm:partition=gpu,time=600`: options of the jobs, `time` in minutes, the rest as
submitit names them (without `slurm_`); `cluster=local` starts plain processes, to try it without Slurm.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Generator
from typing import Any

from .common import Asked, Ended, Tasks, workers_wanted

POLL = 0.2  # seconds between two looks; submitit asks Slurm itself far less often
MINUTES = 24 * 60  # that a job may take; a longer cell is submitted again and goes on


def carry_out(asked: Asked, tasks: Tasks) -> Generator[Ended, None, None]:
    """A job a task, all as one array where Slurm runs them; a job that is killed or preempted, or whose time
    is over, is submitted again.
    """
    import submitit

    executor, local = _executor(submitit, asked, tasks)
    at_once = workers_wanted(tasks) if local else len(tasks.arguments)
    left = [*range(len(tasks.arguments))]
    jobs: dict[int, Any] = {}
    try:
        while left or jobs:
            if new := left[: at_once - len(jobs)]:
                del left[: len(new)]
                with contextlib.nullcontext() if len(new) == 1 or local else executor.batch():
                    started = [executor.submit(tasks.task, *tasks.arguments[n]) for n in new]
                jobs |= dict(zip(new, started))
            for number in [n for n, job in jobs.items() if job.done()]:
                ended = _ended(submitit, jobs.pop(number), number, tasks)
                if ended is None:
                    left.append(number)
                else:
                    yield ended
            time.sleep(POLL)
    finally:
        for job in jobs.values():
            job.cancel()


def _executor(submitit: Any, asked: Asked, tasks: Tasks) -> tuple[Any, bool]:
    """(submitit's executor, whether it starts plain processes here). Raises ValueError."""
    options = asked.options
    cluster = options.pop("cluster", "slurm")
    folder = tasks.folder / "launched"
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"Slurm is not to be found here ({error}): run this on a node where sbatch is, or try "
            "--launcher slurm:cluster=local"
        ) from None
    asks = tasks.resources
    told: dict[str, Any] = {
        "name": "lnl",
        "timeout_min": int(options.pop("time", MINUTES)),
        "cpus_per_task": asks.cpus,
        "gpus_per_node": asks.gpus,
        "mem_gb": asks.memory,
    }
    told |= {f"slurm_{name}": value for name, value in options.items()}
    if tasks.jobs:
        told["slurm_array_parallelism"] = tasks.jobs
    try:
        executor.update_parameters(**told)
    except (NameError, TypeError, ValueError) as error:
        raise ValueError(f"--launcher slurm:{asked.where}: {error}") from None
    print(f"jobs and what they print: {folder}", file=sys.stderr)
    return executor, executor.cluster == "local"


def _ended(submitit: Any, job: Any, number: int, tasks: Tasks) -> Ended | None:
    """How a job ended; None where it is to be submitted again."""
    try:
        return Ended(number, job.result())
    except submitit.core.utils.FailedJobError as error:  # the task raised, and says what
        return Ended(number, error=RuntimeError(str(error).strip().splitlines()[-1]))
    except submitit.core.utils.UncompletedJobError as error:
        return tasks.again(number, str(error).splitlines()[0])
