"""What the kit promises, at a size at which luck ends: `make torture`.

python tests/torture [CAMPAIGN ...] [--seconds S] [--cases N] [--quick] goes on where the last call stopped;
counts are kept in data/measured/torture.json. --quick: a few cases of each, from a seed of the clock; nothing
is kept.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]
os.environ["OMP_NUM_THREADS"] = "1"

from ledger import KEPT, WANTED, Ledger, table  # noqa: E402
from processes import with_faults  # noqa: E402


def folder() -> tempfile.TemporaryDirectory:
    """For what is made large, and its results."""
    return tempfile.TemporaryDirectory(prefix="torture-")


def main() -> int:
    parser = argparse.ArgumentParser("torture", description=__doc__)
    parser.add_argument(
        "campaigns", nargs="*", default=list(WANTED), metavar="CAMPAIGN", help=", ".join(WANTED)
    )
    parser.add_argument(
        "--seconds", type=float, default=1800, help="for all campaigns together (default: 1800)"
    )
    parser.add_argument("--cases", type=int, default=10**9, help="at most so many of each")
    parser.add_argument("--quick", action="store_true", default=os.environ.get("TORTURE") == "quick")
    parser.add_argument("--seed", type=int, help="of the first case with --quick (default: the clock)")
    options = parser.parse_args()
    if unknown := set(options.campaigns) - set(WANTED):
        parser.error(f"campaign {sorted(unknown)[0]!r} does not exist: {', '.join(WANTED)}")
    shim = with_faults()

    import torch

    torch.set_num_threads(1)  # a pool of threads does not outlive a fork
    import attacks
    import inputs
    import kills
    import learners
    import load
    import machine
    import pages
    import truth

    if not kills.free_space_is_enough():
        parser.error("less than 1 GiB is free in the folder of temporary files: make room first")
    ledger = Ledger(None if options.quick else KEPT)
    first = (int(time.time()) if options.seed is None else options.seed) if options.quick else None
    whole, bad = kills.Whole(), 0
    places = contextlib.ExitStack()
    each = (110 if options.quick else options.seconds) / len(options.campaigns)
    for name in options.campaigns:
        entry, started = ledger.of(name), time.monotonic()
        start = entry["done"] if first is None else first
        print(f"{name}: from case {start}", flush=True)
        if name in ("writes", "machine") and not shim:
            print(f"{name}: left out, there is no C compiler", flush=True)
            continue
        if name == "kills":
            cases = kills.at_random_moments(start, whole)
        elif name == "writes" and first is None:
            cases = kills.at_each_write(entry["more"], whole)
        elif name == "writes":
            cases = kills.some_writes(first, whole)
        elif name == "machine":
            cases = machine.cases(start, whole)
        elif name == "load":
            cases = load.cases(entry["more"], first is not None, Path(places.enter_context(folder())))
        elif name == "pages":
            cases = pages.cases(start, pages.BATCH if first is None else 8)
        else:
            plain = {
                "inputs": inputs,
                "attacks": attacks,
                "learners": learners,
                "truth": truth,
            }
            cases = plain[name].cases(start)
        places.callback(cases.close)
        while time.monotonic() - started < each and (first is not None or entry["done"] < WANTED[name]):
            before = time.monotonic()
            until = started + each if first is not None else min(started + each, before + 120)
            counts, faults, more = kills.chunk(cases, until, options.cases)
            if not counts:
                break
            bad += len(faults)
            ledger.add(name, counts, faults, time.monotonic() - before, more)
            if entry["done"] - start >= options.cases or (first is not None and time.monotonic() >= until):
                break
        print(f"{name}: {dict(entry['counts'])}, {len(entry['faults'])} faults", flush=True)
    places.close()
    print(table(ledger))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
