"""Tables of labels: given and true labels of images from a CSV file."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..files import read_csv


class Problem(NamedTuple):
    """Something wrong with an image or a row; all are reported together."""

    kind: str  # in the plural: "unreadable images"
    path: str
    detail: str


class Labels(NamedTuple):
    """What a label CSV says of a data set's images."""

    given: np.ndarray  # int64 (N,), -1 where missing or unknown
    true: np.ndarray | None  # int64 (N,), -1 where missing or unknown
    test: np.ndarray  # int64 (M,), -1 where the table does not name the test image
    bad_test: np.ndarray  # bool (M,): named with an unknown class
    problems: list[Problem]


def _rows_of(table: Path) -> tuple[list[list[str]], list[str]]:
    """(rows, header) of a CSV file."""
    try:
        rows = read_csv(table)
    except (FileNotFoundError, IsADirectoryError):
        raise FileNotFoundError(f"no label file {table}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{table} is not a CSV file in UTF-8: {error}") from None
    return rows, [column.strip() for column in rows[0]] if rows else []


def _columns(
    table: Path, header: list[str], key_column: str, label_column: str | None, true_column: str | None
) -> tuple[int, int, int | None]:
    """Where the given labels, the images' names and the true labels stand; a missing column is refused."""
    if label_column is None:
        label_column = next((c for c in ("given", "label") if c in header), None)
        if label_column is None:
            raise ValueError(
                f"{table} has no column 'given' or 'label': name the one to use with "
                f"--label-column, out of {', '.join(header) or 'none'}"
            )
    for column in (key_column, label_column, true_column):
        if column is not None and column not in header:
            raise ValueError(
                f"{table} has no column '{column}': its columns are {', '.join(header) or 'none'}"
            )
    true_at = None if true_column is None else header.index(true_column)
    return header.index(label_column), header.index(key_column), true_at


def read(
    table,
    classes: tuple[str, ...],
    *,
    keys: dict[str, int],
    test_keys: dict[str, int],
    names: list[str],
    n_test: int,
    key_column: str,
    label_column: str | None,
    true_column: str | None,
) -> Labels:
    """Given and true labels of N training images from a CSV file with a header.

    `keys` maps what stands in `key_column` to positions 0..N-1, `test_keys` to positions in the test set;
    `names (N,)` is how messages call the training images. A label is a class name, or a class number where no
    class is called by a number. Without `label_column`, `given` is taken, else `label`. The label of a test
    image is in the true column if one is named, else in the label column. Where there is a column `dropped`,
    images with a 1 in it are left out, and that is no problem.
    Raises FileNotFoundError, and ValueError for a missing column; all else is in `problems`.
    """
    table = Path(table).expanduser()
    rows, header = _rows_of(table)
    label_at, key_at, true_at = _columns(table, header, key_column, label_column, true_column)
    dropped_at = header.index("dropped") if "dropped" in header else len(header)

    number, n = class_numbers(classes), len(names)
    seen = np.zeros(n, np.int64)
    given = np.full(n, -1, np.int64)
    true = None if true_at is None else np.full(n, -1, np.int64)
    test, bad_test = np.full(n_test, -1, np.int64), np.zeros(n_test, bool)
    problems = []

    def class_of(row: list[str], at: int, name: str) -> int:
        text = row[at] if at < len(row) else ""
        text = text if text in number else text.strip()
        if dropped_at < len(row) and row[dropped_at].strip() == "1":
            return -1
        if text not in number:
            problems.append(Problem("labels of unknown class", name, f"'{text}' in column {header[at]}"))
        return number.get(text, -1)

    for row in rows[1:]:
        key = row[key_at] if key_at < len(row) else ""
        key = key if key in keys or key in test_keys else key.strip().removeprefix("./")
        if (i := keys.get(key)) is not None:
            seen[i] += 1
            given[i] = class_of(row, label_at, names[i])
            if true is not None and true_at is not None:
                true[i] = class_of(row, true_at, names[i])
        elif (i := test_keys.get(key)) is not None:
            test[i] = class_of(row, label_at if true_at is None else true_at, key)
            bad_test[i] = test[i] < 0
        else:
            problems.append(Problem("labels without an image", key, f"no image of this {key_column}"))
    problems += _counted(seen, names, table.name)
    given[seen > 1] = -1
    return Labels(given, true, test, bad_test, problems)


def _counted(seen: np.ndarray, names: list[str], table: str) -> list[Problem]:
    """The images that have several rows, and those that have none."""
    several = [
        Problem("images with several labels", names[n], f"{seen[n]} rows")
        for n in np.flatnonzero(seen > 1).tolist()
    ]
    without = [
        Problem("images without a label", names[i], f"no row in {table}") for i in np.flatnonzero(seen == 0)
    ]
    return several + without


def class_numbers(classes) -> dict[str, int]:
    """{what a label may read: class number}: names, and numbers where no class is called by a number."""
    number = {name: k for k, name in enumerate(classes)}
    return (
        number
        if any(name.isdecimal() for name in classes)
        else number | {str(k): k for k in range(len(classes))}
    )


def path_keys(paths: Sequence[str]) -> dict[str, int]:
    """Positions by path, with and without the leading `train/`."""
    keys = {(p[6:] if p.startswith("train/") else f"train/{p}"): i for i, p in enumerate(paths)}
    return keys | {p: i for i, p in enumerate(paths)}


def report(problems: list[Problem], where: str) -> ValueError:
    """One error that counts the problems by kind and names the first ten."""
    counted = ", ".join(f"{kind}: {n}" for kind, n in Counter(p.kind for p in problems).items())
    first = "; ".join(f"{p.path} ({p.detail})" for p in problems[:10])
    rest = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
    return ValueError(f"{where} has {counted}; mend these or leave them out with --skip-bad: {first}{rest}")
