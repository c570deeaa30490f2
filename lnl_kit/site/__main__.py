"""`python -m lnl_kit.site`: make the site and print where it is."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..files import runs_root
from .build import build


def main(argv: list[str] | None = None) -> int:
    """Make the site; 1 where something is missing or a link leads nowhere, with a line that says what."""
    parser = argparse.ArgumentParser(prog="python -m lnl_kit.site", description=__doc__)
    parser.add_argument(
        "--runs",
        type=Path,
        default=runs_root() / "reproduce",
        help="a folder of executed notebooks, as lnl reproduce writes it (default: runs/reproduce)",
    )
    parser.add_argument("--out", type=Path, default=Path("build/site"), help="where it goes (%(default)s)")
    options = parser.parse_args(argv)
    try:
        print(build(options.runs, options.out))
    except (ValueError, OSError) as error:
        print(f"lnl_kit.site: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
