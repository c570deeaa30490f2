"""Help and lists come at once: torch is imported where a command needs it, and nowhere before."""

import subprocess
import sys

import pytest
from conftest import cpu_seconds

from lnl_kit.methods import METHODS, listed

HEAVY = ("torch", "scipy", "sklearn", "pandas", "plotly", "PIL", "matplotlib")
ASKED = """
import sys
from lnl_kit import cli
try:
    cli.main(sys.argv[1:])
except SystemExit:
    pass
print(*(name for name in {heavy} if name in sys.modules), file=sys.stderr)
"""


COMMANDS = "train compare reproduce check find-errors apply bench"


@pytest.mark.parametrize(
    "arguments",
    ["--help", "--version", "methods", "train nrdd", "nothing", *(f"{c} --help" for c in COMMANDS.split())],
)
def test_what_only_tells_imports_nothing_heavy(arguments):
    script = ASKED.format(heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments.split()], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "", done.stderr
    assert done.stdout or done.stderr.startswith("lnl: argument")


def test_help_takes_a_second_at_most():
    """On a slow machine, as many starts of a bare Python as fit in a second on a quick one."""
    bare = cpu_seconds("-c", "pass", tries=3)
    assert cpu_seconds("-m", "lnl_kit.cli", "--help", tries=3) < max(1, 25 * bare)


def test_methods_are_listed_as_their_classes_say():
    """What is read from the files as text is what the classes are."""
    of_classes = [
        (name, (settings.__doc__ or "").splitlines()[0], tuple(settings.controls))
        for name, (_, settings) in METHODS.items()
    ]
    assert [tuple(method) for method in listed()] == of_classes
    assert sum(len(method.controls) for method in listed()) > 5
