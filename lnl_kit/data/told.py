"""What a table of labels says of a data set's images, by one column or by several annotators' columns."""

from __future__ import annotations

import numpy as np

from . import label_tables
from .annotators import agree
from .label_formats import LabelTable
from .label_tables import Labels
from .raw import _Raw


def labels_of(raw: _Raw, table: LabelTable, columns: tuple, annotators: str) -> Labels:
    """What a table says: of several columns, what they say together."""
    path_column, label_column, true_column = columns
    names = (label_column or "").split(",")
    if len(names) < 2 or label_column in table.header:
        return _of_column(raw, table, columns)
    told = [_of_column(raw, table, (path_column, name.strip(), true_column)) for name in names]
    votes = np.stack([one.given for one in told], 1)
    there = (votes >= 0).all(1)
    agreed = agree(votes[there], len(raw.classes), annotators)
    given = np.full(len(votes), -1, np.int64)
    given[there] = agreed.given
    problems = list({(p.path, p.detail): p for one in told for p in one.problems}.values())
    return told[0]._replace(given=given, problems=problems, agreed=agreed)


def _of_column(raw: _Raw, table: LabelTable, columns: tuple) -> Labels:
    path_column, label_column, true_column = columns
    return label_tables.read(
        table,
        raw.classes,
        names=[str(i) for i in range(len(raw.y))] if raw.paths is None else raw.paths,
        test_names=[""] * len(raw.test_y) if raw.test_paths is None or raw.lent else raw.test_paths,
        by_index=raw.paths is None,
        own=raw.y if raw.own is None else raw.own,
        held=None if raw.parts is None else np.array(raw.parts) != "train",
        path_column=path_column,
        label_column=label_column,
        true_column=true_column,
    )
