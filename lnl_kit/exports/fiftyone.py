"""Findings as FiftyOne's FiftyOneImageClassificationDataset: labels by the number of an image, and a manifest
that says where each image lies. Nothing is copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..files import json_bytes

if TYPE_CHECKING:
    from .findings import Row, Told

README = """\
# Findings for FiftyOne

`data.json` says where each image lies, the other files hold one label field each: `given` (as searched, with
suspicion, suggestion and decision as attributes), `suggested` (its confidence is the suspicion) and `decided`
(without images that a decision drops).

```python
from pathlib import Path

import fiftyone as fo

here = Path("export-fiftyone").absolute()  # this folder
dataset = fo.Dataset()
for field in ("given", "suggested", "decided"):
    dataset.merge_dir(
        dataset_type=fo.types.FiftyOneImageClassificationDataset,
        data_path=str(here / "data.json"),
        labels_path=str(here / f"{field}.json"),
        label_field=field,
    )
fo.launch_app(dataset)
```
"""


def files(rows: list[Row], told: Told, count: dict[str, int]) -> Iterator[tuple[str, bytes]]:
    """data.json, given.json, suggested.json, decided.json and a README.md that loads them."""
    number = {name: k for k, name in enumerate(told.classes)}
    keys = [f"{n:06d}" for n in range(len(rows))]
    places = {key: str(told.folder / row.path) for key, row in zip(keys, rows)}
    given = {
        key: {
            "label": number[row.given],
            "attributes": {
                "suspicion": row.suspicion,
                "suggested": row.suggested,
                "decision": row.action or "none",
                "because": row.because,
                "kind": row.kind,
            },
        }
        for key, row in zip(keys, rows)
    }
    suggested = {
        key: {"label": number[row.suggested], "confidence": row.suspicion} for key, row in zip(keys, rows)
    }
    decided = {key: {"label": number[row.label]} for key, row in zip(keys, rows) if row.label}
    yield "data.json", json_bytes(places)
    for name, labels in (("given", given), ("suggested", suggested), ("decided", decided)):
        yield f"{name}.json", json_bytes({"classes": told.classes, "labels": labels})
    yield "README.md", README.encode()
