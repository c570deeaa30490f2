"""Ray: a cluster at an address, or one of this machine."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Generator, Iterator
from typing import Any

from ..files import RunError
from .common import TRIES, Asked, Ended, Tasks, workers_wanted

STORE = 100_000_000  # bytes of memory for objects: rows are small


def carry_out(asked: Asked, tasks: Tasks) -> Generator[Ended, None, None]:
    """A remote task each; Ray itself gives the tasks of a dead worker to another one."""
    os.environ.setdefault(
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"
    )  # a task without a GPU sees what is there
    import ray

    how: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if asked.where:
        how["address"] = asked.where
    else:
        cpus = workers_wanted(tasks) * tasks.resources.cpus
        how |= {
            "num_cpus": cpus,
            "include_dashboard": False,
            "object_store_memory": STORE,
            "address": "local",
        }
    if ray.is_initialized():
        yield from _results(ray, tasks)
        return
    try:
        ray.init(**how)
    except Exception as error:  # Ray raises whatever kept it from starting, often as a plain Exception
        where = f"no Ray cluster answers at {asked.where}" if asked.where else "Ray could not be started here"
        raise RunError(f"{where}: {error}") from None
    try:
        yield from _results(ray, tasks)
    finally:
        ray.shutdown()


def _results(ray: Any, tasks: Tasks) -> Iterator[Ended]:
    asks = tasks.resources
    needs: dict[str, Any] = {"num_cpus": asks.cpus, "max_retries": TRIES, "max_calls": 0}
    if ray.cluster_resources().get("GPU"):
        needs["num_gpus"] = asks.gpus
    if ray.cluster_resources().get("memory", 0) >= asks.memory * 1e9:
        needs["memory"] = int(asks.memory * 1e9)
    remote = ray.remote(**needs)(tasks.task)
    numbers = {remote.remote(*arguments): n for n, arguments in enumerate(tasks.arguments)}
    try:
        while numbers:
            (ref, *_), _ = ray.wait([*numbers], num_returns=1)
            number = numbers.pop(ref)
            try:
                yield Ended(number, ray.get(ref))
            except ray.exceptions.RayTaskError as error:
                yield Ended(number, error=error.cause)
            except ray.exceptions.RayError as error:  # its workers died more often than max_retries
                if (given_up := tasks.again(number, str(error).splitlines()[0])) is not None:
                    yield given_up
                else:
                    numbers[remote.remote(*tasks.arguments[number])] = number
    finally:
        for ref in numbers:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.cancel(ref)  # raises KeyboardInterrupt in it
