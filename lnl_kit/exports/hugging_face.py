"""Findings as a data set of Hugging Face: Parquet with the images inside, `datasets.load_dataset(FOLDER)`."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .findings import Row, Told

SHARD = 2**28  # bytes of images a file, about
GROUP = 100  # rows a row group, so that readers need little memory
NO_FILE = "left out, as their file cannot be read"
README = """\
---
configs:
- config_name: default
  data_files:
  - split: train
    path: "data/*.parquet"
tags: ["image-classification", "noisy-labels"]
---

# Findings: labels that are probably wrong

`label` is the class as decided, else as given (-1: a decision drops the image); `suspicion` the estimated
probability that the given label is wrong; `suggested` the most probable other class; `action` what a person
decided (empty: nothing yet).
"""


def files(rows: list[Row], told: Told, count: dict[str, int]) -> Iterator[tuple[str, bytes]]:
    """data/train-<n>.parquet and README.md. Images whose file cannot be read are left out, and counted."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise ValueError("--to hf needs pyarrow: pip install 'lnl-kit[parquet]'") from None
    schema, shard, lost = schema_of(told.classes, pa), 0, []
    sheet: list[dict] = []
    file, size, writer = io.BytesIO(), 0, None
    for n, row in enumerate(rows):
        try:
            content = told.content(row)
        except Exception:  # Pillow raises all sorts
            lost.append(n)
            continue
        sheet.append(record(row, content, told.classes))
        size += len(content)
        if len(sheet) == GROUP:
            writer = writer or parquet.ParquetWriter(file, schema)
            writer.write_table(pa.Table.from_pylist(sheet, schema))
            sheet = []
            if size > SHARD:
                writer.close()
                yield f"data/train-{shard:05d}.parquet", file.getvalue()
                file, size, writer, shard = io.BytesIO(), 0, None, shard + 1
    if sheet or writer or not shard:
        writer = writer or parquet.ParquetWriter(file, schema)
        writer.write_table(pa.Table.from_pylist(sheet, schema))
        writer.close()
        yield f"data/train-{shard:05d}.parquet", file.getvalue()
    if lost:
        count[NO_FILE] = len(lost)
        rows[:] = [row for n, row in enumerate(rows) if n not in set(lost)]
    yield "README.md", README.encode()


def record(row: Row, content: bytes, classes: list[str]) -> dict[str, Any]:
    """A row of the table."""
    number = {name: k for k, name in enumerate(classes)}
    return {
        "image": {"bytes": content, "path": row.path.rsplit("/", 1)[-1]},
        "label": number.get(row.label, -1),
        "given": number[row.given],
        "suggested": number[row.suggested],
        "suspicion": row.suspicion,
        **{k: getattr(row, k) for k in ("action", "because", "kind", "path", "split", "digest")},
    }


def schema_of(classes: list[str], pa: Any) -> Any:
    """pyarrow's schema with the features as `datasets` writes them into a file."""
    text = {"dtype": "string", "_type": "Value"}
    label = {"names": classes, "_type": "ClassLabel"}
    features: dict[str, dict[str, Any]] = {
        "image": {"_type": "Image"},
        "label": label,
        "given": label,
        "suggested": label,
        "suspicion": {"dtype": "float64", "_type": "Value"},
    }
    features |= {k: text for k in ("action", "because", "kind", "path", "split", "digest")}
    kinds = {
        "Image": pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        "ClassLabel": pa.int64(),
    }
    fields = [
        pa.field(k, kinds.get(f["_type"]) or (pa.float64() if f["dtype"] == "float64" else pa.string()))
        for k, f in features.items()
    ]
    return pa.schema(fields, {"huggingface": json.dumps({"info": {"features": features}})})
