"""Tables of labels: which image each row means, and the given and true labels it says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..files import flag, shortened
from .annotators import Agreed
from .label_formats import LabelTable, read_table
from .label_paths import composed, likely_cause, match, path_keys
from .problems import Problem, report, some

__all__ = ["Labels", "Problem", "class_numbers", "path_keys", "read", "report"]

PATH_COLUMNS = (
    "path file filename file_name file_path filepath image image_path imagepath image_name img img_path "
    "image_id id name url"
).split()
LABEL_COLUMNS = (
    "given label labels class category target choice class_name label_name category_name classname "
    "tag species "
    "breed y"
).split()


class Labels(NamedTuple):
    """What a label file says of a data set's images."""

    given: np.ndarray  # int64 (N,), -1 where missing or unknown
    true: np.ndarray | None  # int64 (N,), -1 where missing or unknown
    test: np.ndarray  # int64 (M,), -1 where the table does not name the test image
    bad_test: np.ndarray  # bool (M,): named with an unknown class, or dropped
    dropped: np.ndarray  # bool (N,): left out by the column `dropped`
    of_dropped: dict[int, str]  # the label that each of these has in the table, a class name where it is one
    problems: list[Problem]
    notes: tuple[str, ...]  # how the file was read, where that is not plain
    cause: str  # of rows that name no image, as far as it can be seen
    agreed: Agreed | None = None  # what several annotators' columns say together


class Columns(NamedTuple):
    """Which cell of a row says what; None where there is none."""

    key: int
    label: int
    true: int | None
    dropped: int | None


def read(
    table: str | Path | LabelTable,
    classes: Sequence[str],
    *,
    names: Sequence[str],
    test_names: Sequence[str] = (),
    by_index: bool = False,
    own: np.ndarray | None = None,
    held: np.ndarray | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    true_column: str | None = None,
) -> Labels:
    """Given and true labels of N training images, and of those M test images that the table names.

    names (N,), test_names (M,): the images' paths, or with by_index the positions that stand for them; how a
    row may write them: `label_paths.match`. own (N,): class numbers by the folders, by which labels that
    count from 1 are told. held, bool (N,): images of test/ and val/, which keep that class where no row names
    them, as test images do. A label is a class name, or a class number where no class is called by a number.
    Columns without a name given: see PATH_COLUMNS and LABEL_COLUMNS. The label of a test image is in the true
    column if one is named, else in the label column. Images with a yes (`files.flag`) in a column `dropped`
    are left out, and that is no problem. Rows that say the same twice are one.
    Raises FileNotFoundError, and ValueError for a missing column, a `dropped` that is neither yes nor no, and
    class numbers from 1; all else is in `problems`.
    """
    table = read_table(table)
    table, at, notes = find_columns(
        table, [*names, *test_names], by_index, path_column, label_column, true_column
    )
    keys = [row[at.key] for row in table.rows]
    if by_index:
        found = {key: i for key in keys if (i := _position(key, len(names))) is not None}
        ambiguous: dict[str, list[str]] = {}
    else:
        found, ambiguous, how = match(keys, [*names, *test_names])
        notes += how
    _refuse_counting_from_one(table, at, found, classes, own)

    labels = _unlabelled(len(names), len(test_names), at.true is not None)
    seen = _fill(labels, table, at, found, ambiguous, classes, [*names, *test_names])
    notes += _keep_theirs(labels, table, own, held, seen[: len(names)])
    _say_counts(labels, table, names, seen[: len(names)])
    repeated = len(table.rows) - len({tuple(row) for row in table.rows})
    if repeated:
        notes += (f"{some(repeated, 'repeated row')} of {table.name} counted once",)
    if labels.dropped.any():
        notes += (f"{labels.dropped.sum()} dropped by the label file",)
    lost = [p.path for p in labels.problems if p.kind == "labels without an image"]
    unnamed = [name for name, n in zip(names, seen) if not n]
    cause = "" if by_index else likely_cause(lost, unnamed or lost, ambiguous)
    return labels._replace(notes=(*table.notes, *notes), cause=cause)


def _unlabelled(n: int, n_test: int, has_true: bool) -> Labels:
    given, test = np.full(n, -1, np.int64), np.full(n_test, -1, np.int64)
    true = np.full(n, -1, np.int64) if has_true else None
    return Labels(given, true, test, np.zeros(n_test, bool), np.zeros(n, bool), {}, [], (), "")


def _keep_theirs(labels: Labels, table: LabelTable, own, held, seen: np.ndarray) -> tuple[str, ...]:
    """Give images of test/ and val/ that no row names their folder's class, count them as `seen` (N,), and
    say so.
    """
    if held is None or own is None or not len(keeping := np.flatnonzero(held & (own >= 0) & (seen == 0))):
        return ()
    labels.given[keeping], seen[keeping] = own[keeping], 1
    if labels.true is not None:
        labels.true[keeping] = own[keeping]
    what = some(keeping, "image")
    return (f"{what} outside train/ without a row in {table.name} keep their folder's class",)


def _say_counts(labels: Labels, table: LabelTable, names: Sequence[str], seen: np.ndarray) -> None:
    """A problem for each image with several labels or none; seen (N,): how many each has."""
    for i in np.flatnonzero(seen > 1).tolist():
        labels.problems.append(Problem("images with several labels", names[i], f"{seen[i]} rows"))
        labels.given[i] = -1
    for i in np.flatnonzero(seen == 0).tolist():
        labels.problems.append(Problem("images without a label", names[i], f"no row in {table.name}"))


def _fill(
    labels: Labels, table: LabelTable, at: Columns, found, ambiguous, classes: Sequence[str], images
) -> np.ndarray:
    """Write each row's label to its image; returns how many different rows each image has, int64 (N + M,)."""
    number = class_numbers(classes)
    n, seen = len(labels.given), np.zeros(len(images), np.int64)
    before: dict[int, tuple] = {}

    def said(row: list[str], column: int, name: str) -> int:
        k = class_of(row[column], number)
        if k is None:
            text = row[column].strip()
            kind = "labels of unknown class" if text else "images without a label"
            detail = (
                f"'{text}' in column {table.header[column]}" if text else f"an empty cell in {table.name}"
            )
            labels.problems.append(Problem(kind, name, detail))
        return -1 if k is None else k

    for row, line in zip(table.rows, table.lines):
        key = row[at.key]
        if (i := found.get(key)) is None:
            fits = ambiguous.get(key)
            detail = (
                f"fits {len(fits)} images: {', '.join(fits[:3])}"
                if fits
                else f"no image of this {table.header[at.key]}"
            )
            labels.problems.append(Problem("labels without an image", key, detail))
            continue
        cells = tuple(_spelled(row[c], number) for c in at[1:] if c is not None)
        if cells == before.get(i):  # the same said twice
            continue
        before[i], seen[i] = cells, seen[i] + 1
        dropped = at.dropped is not None and is_yes(row[at.dropped], table, line)
        if i < n:
            labels.dropped[i] = dropped
            if dropped:
                k = class_of(row[at.label], number)
                labels.of_dropped[i] = row[at.label].strip() if k is None else classes[k]
            labels.given[i] = -1 if dropped else said(row, at.label, images[i])
            if labels.true is not None and at.true is not None:
                labels.true[i] = -1 if dropped else said(row, at.true, images[i])
        else:
            column = at.label if at.true is None else at.true
            labels.test[i - n] = -1 if dropped else said(row, column, images[i])
            labels.bad_test[i - n] = labels.test[i - n] < 0
    return seen


def is_yes(text: str, table: LabelTable, line: int, column: str = "dropped") -> bool:
    """Whether a cell says yes. Raises ValueError, with its line, for what is neither yes nor no."""
    if (said := flag(text)) is None:
        raise ValueError(
            f"line {line} of {table.name} has {text.strip()!r} in column {column}: write 1, true, yes or x "
            "for yes, and 0, false, no or nothing for no"
        )
    return said


def class_of(text: str, number: dict[str, int]) -> int | None:
    """The class number that a cell says, None where it says none."""
    for form in (text, text.strip(), whole(text.strip()), composed(text.strip())):
        if form in number:
            return number[form]
    return None


def _spelled(text: str, number: dict[str, int]):
    k = class_of(text, number)
    return text.strip() if k is None else k


def whole(text: str) -> str:
    """`3.0` as `3`, as a table with an empty cell in a column of numbers writes it; other text as it is."""
    head, point, tail = text.partition(".")
    return head if point and head.lstrip("-").isdecimal() and not tail.strip("0") else text


def _position(key: str, n: int) -> int | None:
    text = whole(key.strip())
    return int(text) if text.isdecimal() and int(text) < n else None


def class_numbers(classes) -> dict[str, int]:
    """{what a label may read: class number}: the names, their accents in either form, and the numbers where
    no class is called by a number.
    """
    number = {composed(name): k for k, name in enumerate(classes)} | {
        name: k for k, name in enumerate(classes)
    }
    if any(name.isdecimal() for name in classes):
        return number
    return number | {str(k): k for k in range(len(classes))}


def _refuse_counting_from_one(table: LabelTable, at: Columns, found, classes, own) -> None:
    """Class numbers that never say 0 and agree with the folders only when 1 is subtracted are refused."""
    texts = [(whole(row[at.label].strip()), found.get(row[at.key])) for row in table.rows]
    if own is None or not texts or any(text in classes for text, _ in texts):
        return
    numbers = [(int(text), i) for text, i in texts if text.isdecimal()]
    if (
        len(numbers) < len(texts) / 2
        or min(k for k, _ in numbers) != 1
        or any(c.isdecimal() for c in classes)
    ):
        return
    known = [(k, own[i]) for k, i in numbers if i is not None and i < len(own)]
    from_zero, from_one = (sum(k - first == y for k, y in known) for first in (0, 1))
    if from_one >= from_zero:
        examples = ", ".join(f"{k} = {name}" for k, name in list(enumerate(classes))[:3])
        raise ValueError(
            f"{table.name} numbers its classes from 1, numbers count from 0 here ({examples}"
            f"{', ...' if len(classes) > 3 else ''}): subtract 1 in column {table.header[at.label]}, "
            "or write names"
        )


# ---------------------------------------------------------------- which column says what


def find_columns(
    table: LabelTable,
    images: Sequence[str],
    by_index: bool,
    path_column: str | None,
    label_column: str | None,
    true_column: str | None,
) -> tuple[LabelTable, Columns, tuple[str, ...]]:
    """(table, columns, notes): the columns asked for, else those with usual headings.

    A table without a heading whose first row names an image gets the heading path, label. Raises ValueError
    for a column that is not there.
    """
    notes: tuple[str, ...] = ()
    small = [h.lower().replace(" ", "_") for h in table.header]
    for column in (path_column, label_column, true_column):
        if column is not None and column not in table.header:
            raise ValueError(
                f"{table.name} has no column '{column}': its columns are {shortened(table.header)}"
            )
    key = path_column or _first(table.header, small, ("index", "id") if by_index else PATH_COLUMNS)
    if key is None and len(table.header) == 2 and (at := _names_image(table.header, images)) is not None:
        header = ["path", "label"] if at == 0 else ["label", "path"]
        table = table._replace(header=header, rows=[table.header, *table.rows], lines=[1, *table.lines])
        small, key = header, "path"
        notes += (f"{table.name} has no heading: read as {','.join(header)}",)
    there = shortened(table.header)
    if label_column is None:
        rest = [s if h != key else "" for s, h in zip(small, table.header)]
        label_column = _first(table.header, rest, LABEL_COLUMNS)
        others = [h for h in table.header if h not in (key, "dropped")]
        if label_column is None and key and len(others) == 1 and not by_index:
            label_column = others[0]
            notes += (f"labels taken from column {label_column}",)
    if label_column is None:
        raise ValueError(
            f"{table.name} has no column 'given' or 'label': name the one to use with --label-column, "
            f"out of {there}"
        )
    if key is None:
        raise ValueError(
            f"{table.name} has no column 'index': its columns are {there}"
            if by_index
            else f"{table.name} has no column of paths ({', '.join(PATH_COLUMNS[:7])}): name it with "
            f"--path-column, out of {there}"
        )
    dropped = small.index("dropped") if "dropped" in small else None
    true = None if true_column is None else table.header.index(true_column)
    return table, Columns(table.header.index(key), table.header.index(label_column), true, dropped), notes


def _first(header: list[str], small: list[str], names: Sequence[str]) -> str | None:
    return next((header[small.index(name)] for name in names if name in small), None)


def _names_image(cells: list[str], images: Sequence[str]) -> int | None:
    found = match(list(cells), list(images)).at
    return next((i for i, cell in enumerate(cells) if cell in found), None)


def classes_of(table: LabelTable, images: Sequence[str], path_column, label_column, true_column):
    """({image's path: label as text, "" = none}, class names) of a table that alone says what the classes
    are.

    Class names are sorted, numbers as numbers.
    """
    table, at, _ = find_columns(read_table(table), images, False, path_column, label_column, true_column)
    found = match([row[at.key] for row in table.rows], list(images)).at
    labels: dict[str, str] = {}
    names: set[str] = set()
    for row, line in zip(table.rows, table.lines):
        dropped = at.dropped is not None and is_yes(row[at.dropped], table, line)
        texts = [whole(row[c].strip()) for c in (at.label, at.true) if c is not None]
        if not dropped:
            names |= {composed(text) for text in texts} - {""}
        if (i := found.get(row[at.key])) is not None:
            labels[images[i]] = "" if dropped else composed(texts[0] or texts[-1])
    by_number = all(name.lstrip("-").isdecimal() for name in names)
    return labels, tuple(sorted(names, key=int if by_number else str))
