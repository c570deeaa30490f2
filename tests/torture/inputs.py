"""Bad input by property-based generation (hypothesis): the right result or one sentence, and input that stays
as it was. What fails is made as small as it can be before it is told.
"""

import itertools
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import hypothesis
from kinds import KINDS, make_folders
from processes import forked

CHUNK = 40  # cases a process
MEMORY = 3 << 30  # bytes that a process may take beyond what it has


def fuzz(name: str, seed: int, most: int) -> tuple[int, str]:
    """So many examples of a kind: (how many were tried, what is wrong, as small as it could be made)."""
    strategy, check = KINDS[name]
    tried = [0]

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=most,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
    )
    @hypothesis.given(strategy)
    def every(example):
        tried[0] += 1
        check(**example)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            every()
    except BaseException as error:
        import traceback

        notes = "\n".join(getattr(error, "__notes__", ()))
        return tried[0], "".join(traceback.format_exception(error, limit=-6))[-2500:] + notes[-1500:]
    return tried[0], ""


def cases(first: int) -> Iterator[tuple[str, dict | None, dict]]:
    """Chunks of each kind in turn; a case is an example, a chunk's seed the number of its first case."""
    with tempfile.TemporaryDirectory(prefix="kept-") as folder:
        ended = None
        make_folders(Path(folder))
        for name in itertools.cycle(KINDS):
            ended = forked(lambda name=name, seed=first: fuzz(name, seed, CHUNK), at_most=600, memory=MEMORY)
            tried, wrong = ended.result or (1, f"ended with {ended.status}: {ended.said[-1500:]}")
            tried = min(tried, CHUNK)
            for n in range(tried):
                fault = {"case": first, "kind": name, "wrong": wrong}
                yield name, fault if wrong and n == 0 else None, {}
            first += tried
