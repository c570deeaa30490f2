"""The command lnl doctor."""

from __future__ import annotations

import argparse
import json


def add_doctor(add: argparse.ArgumentParser) -> None:
    """`lnl doctor`."""
    add.add_argument("--json", action="store_true", help="print the result as JSON")
    add.add_argument("--full", action="store_true", help="ask torch itself, and time bfloat16: takes seconds")
    add.set_defaults(command=doctor_command)


def doctor_command(options) -> int:
    """`lnl doctor`: 0, or 1 where something that is needed is missing."""
    from .examine import examine
    from .text import text

    found = examine(options.full)
    print(json.dumps(found, indent=1, ensure_ascii=False) if options.json else text(found))
    return int(bool(found["needed"]))
