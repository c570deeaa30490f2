"""Findings as COCO: one annotation an image, over the whole of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..files import json_bytes

if TYPE_CHECKING:
    from .findings import Row, Told

NO_SIZE = "left out, as their file cannot be read"


def files(rows: list[Row], told: Told, count: dict[str, int]) -> Iterator[tuple[str, bytes]]:
    """coco.json. The category is the label as decided, else as given; `attributes` has the rest. Images
    that a decision drops have no annotation. `file_name` is relative to the folder of the images.
    """
    number = {name: k for k, name in enumerate(told.classes, 1)}
    images, annotations, unreadable = [], [], set()
    for n, row in enumerate(rows, 1):
        try:
            width, height = told.size(row)
        except Exception:  # Pillow raises all sorts
            unreadable.add(n)
            continue
        attributes = {
            "given": row.given,
            "suggested": row.suggested,
            "suspicion": row.suspicion,
            "decision": row.action,
            "because": row.because,
            "kind": row.kind,
        }
        images.append({"id": n, "file_name": row.path, "width": width, "height": height} | attributes)
        if row.label:
            annotations.append(
                {
                    "id": n,
                    "image_id": n,
                    "category_id": number[row.label],
                    "bbox": [0, 0, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "segmentation": [[0, 0, width, 0, width, height, 0, height]],
                    "attributes": attributes,
                }
            )
    if unreadable:
        count[NO_SIZE] = len(unreadable)
        rows[:] = [row for n, row in enumerate(rows, 1) if n not in unreadable]
    yield (
        "coco.json",
        json_bytes(
            {
                "info": {"description": told.made_by, "images_folder": str(told.folder)},
                "licenses": [],
                "images": images,
                "annotations": annotations,
                "categories": [{"id": k, "name": name, "supercategory": ""} for name, k in number.items()],
            }
        ),
    )
