"""The command `lnl bench`."""

from __future__ import annotations

import argparse

from ..run.flags import share


def add_bench(add: argparse.ArgumentParser) -> None:
    """`lnl bench`."""
    add.add_argument("--json", metavar="FILE", help="write the rows there too")
    add.add_argument("--quick", action="store_true", help="small networks and few repeats")
    add.add_argument("--only", metavar="TEXT", default="", help="only the rows whose name contains TEXT")
    share(add, "--device")
    add.add_argument(
        "--no-compile", action="store_true", help="leave torch.compile out of what the bound tries"
    )
    add.set_defaults(command=bench_command)


def bench_command(options) -> int:
    """`lnl bench`."""
    from .loop import bench

    return bench(
        json_file=options.json,
        quick=options.quick,
        only=options.only,
        device=options.device,
        compile=not options.no_compile,
    )
