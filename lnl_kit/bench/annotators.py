"""How often several annotators are right together (data/measured/annotators.csv).

python -m lnl_kit.bench.annotators data/cifar10-jpeg/cifar10n.csv
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ..data.annotators import RULES, agree
from ..files import read_table
from ..results import measured
from ..toolbox import metrics

COLUMNS = ("random1", "random2", "random3")
FILE = "annotators"


def main(argv: list[str]) -> int:
    """Measure CIFAR-10N's three annotators, one by one and by each rule."""
    if len(argv) != 1:
        print(__doc__)
        return 2
    table = read_table(Path(argv[0]))
    classes = sorted({row["clean"] for row in table})
    number = {name: k for k, name in enumerate(classes)}
    true = np.array([number[row["clean"]] for row in table])
    labels = np.array([[number[row[c]] for c in COLUMNS] for row in table])
    own = {c: np.array([number[row[c]] for row in table]) for c in (*COLUMNS, "aggre")}
    for name, given in own.items():
        keep(name, len(true), (given == true).mean())
    made = np.stack([metrics.empirical_transition(true, of_one, len(classes))[0] for of_one in labels.T])
    for rule in RULES:
        found = agree(labels, len(classes), rule)
        off = np.abs(found.matrices - made).mean()
        keep(rule, len(true), (found.given == true).mean(), matrix_error=float(off))
    return 0


def keep(name: str, n: int, right: float, **more) -> None:
    """A row: who says it, and the share of right labels."""
    row = {
        "method": name,
        "dataset": "cifar10n",
        "asked": name,
        "train_images": n,
        "share_right": float(right),
    }
    measured.add(FILE, row | more)
    print(row | more)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
