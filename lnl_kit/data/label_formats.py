"""Label files of every kind as one table: CSV, Parquet, JSON lines, COCO, Label Studio, Hugging Face."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..files import TABLE_BYTES, csv_bytes, read_file, save_atomically, unguarded

PARQUET_ROWS = 50_000_000
KINDS = "CSV, TSV, JSON, JSON lines or Parquet"


class LabelTable(NamedTuple):
    """The cells of a label file as text; every row is as long as the header."""

    name: str  # how messages call it
    header: list[str]
    rows: list[list[str]]
    lines: list[int]  # where each row stands in its file, counted from 1
    notes: tuple[str, ...] = ()  # how it was read, where that was not as comma-separated UTF-8


def read_table(file: str | Path | LabelTable) -> LabelTable:
    """A label file as a table, its kind known by its ending and its content.

    Raises FileNotFoundError, and ValueError with one sentence for what is no table of labels.
    """
    if isinstance(file, LabelTable):
        return file
    path = Path(file).expanduser()
    try:
        content = read_file(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise FileNotFoundError(f"no label file {path}: give a {KINDS} file") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    if path.suffix.lower() in (".xlsx", ".xls", ".ods") or content[:4] in (b"PK\3\4", b"\xd0\xcf\x11\xe0"):
        raise ValueError(f"{path} is a spreadsheet's own file: save it as CSV, and give that")
    if content[:4] == b"PAR1":
        return _parquet(path, content)
    text, notes = _text(path, content)
    start = text.lstrip()[:1]
    if path.suffix.lower() in (".json", ".jsonl", ".ndjson") or (start in ("{", "[") and not _is_csv(path)):
        return _json(path, text, notes)
    return _csv(path, text, notes)


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() in (".csv", ".tsv")


def _text(path: Path, content: bytes) -> tuple[str, tuple[str, ...]]:
    """The text of a file in UTF-8, in UTF-16 with its mark, or in Windows-1252, and which it was."""
    try:
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return content.decode("utf-16"), ("read as UTF-16",)
        if b"\0" not in content:
            try:
                return content.decode("utf-8-sig"), ()
            except UnicodeDecodeError:
                return content.decode("cp1252"), ("read as Windows-1252, not UTF-8",)
        if content[1:2] == b"\0":  # without its mark
            return content.decode("utf-16-le"), ("read as UTF-16",)
    except UnicodeDecodeError:
        pass
    raise ValueError(f"{path} is not a CSV file in UTF-8, nor another table of labels: give a {KINDS} file")


def _csv(path: Path, text: str, notes: tuple[str, ...]) -> LabelTable:
    """Cells between commas, semicolons or tabs: whichever the heading has most of."""
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)  # a comma where there is none of them
    if separator != ",":
        notes += (f"columns separated by {'tabs' if separator == chr(9) else 'semicolons'}",)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        rows = (([unguarded(cell) for cell in row], reader.line_num) for row in reader)
        found = [(row, line) for row, line in rows if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise ValueError(f"{path} is not a CSV file: {error}") from None
    return _table(path.name, [row for row, _ in found], [line for _, line in found], notes)


def _table(name: str, rows: list[list[str]], lines: list[int], notes: tuple[str, ...]) -> LabelTable:
    header = [cell.strip() for cell in rows[0]] if rows else []
    width = len(header)
    rows = [row[:width] + [""] * (width - len(row)) for row in rows[1:]]
    return LabelTable(name, header, rows, lines[1:], notes)


def of_records(name: str, records: Iterable[dict], notes: tuple[str, ...] = ()) -> LabelTable:
    """A table from one dictionary an image."""
    records = list(records)
    header = list(dict.fromkeys(str(key) for record in records for key in record))
    rows = [[_cell(record.get(key)) for key in header] for record in records]
    return LabelTable(name, header, rows, list(range(1, len(rows) + 1)), notes)


def _cell(value) -> str:
    """A value as a label file would write it."""
    if value is None or value != value:  # absent, in pandas' way too
        return ""
    if isinstance(value, dict):  # an image of Hugging Face's datasets
        return str(value.get("path") or value.get("file_name") or "")
    if isinstance(value, (list, tuple)) and len(value) == 1:
        return _cell(value[0])
    return str(value)


# ---------------------------------------------------------------- JSON


def _json(path: Path, text: str, notes: tuple[str, ...]) -> LabelTable:
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        try:
            content = json.loads(text)
        except json.JSONDecodeError:
            if len(lines) < 2:
                raise
            content = [json.loads(line) for line in lines]
    except RecursionError:
        raise ValueError(f"{path} is not JSON of labels: it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error.msg} in line {error.lineno}") from None
    if isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys():
        return of_records(path.name, _coco(path, content), (*notes, "read as COCO"))
    if isinstance(content, dict) and content and all(isinstance(v, (str, int)) for v in content.values()):
        records = [{"path": key, "label": value} for key, value in content.items()]
        return of_records(path.name, records, (*notes, "read as {path: label}"))
    if isinstance(content, dict):
        content = next((v for v in content.values() if isinstance(v, list)), [content])
    if not isinstance(content, list) or not content or not all(isinstance(r, dict) for r in content):
        raise ValueError(f"{path} holds no table of labels: a list with one object an image is needed")
    if all("annotations" in record and "data" in record for record in content):
        return of_records(path.name, _label_studio(path, content), (*notes, "read as Label Studio's export"))
    return of_records(path.name, content, notes)


def _coco(path: Path, content: dict) -> list[dict]:
    """One row an image; an image with annotations of several classes gives several rows."""
    try:
        category = {c["id"]: str(c["name"]) for c in content["categories"]}
        labels: dict = {image["id"]: {} for image in content["images"]}
        for note in content["annotations"]:
            labels.setdefault(note["image_id"], {})[category[note["category_id"]]] = None
        return [
            {"path": image["file_name"], "label": label}
            for image in content["images"]
            for label in labels[image["id"]] or [""]
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} looks like COCO, but an entry lacks {error}") from None


def _label_studio(path: Path, tasks: list[dict]) -> list[dict]:
    """One row a task: its image, and the choice of the last annotation that was not cancelled."""
    records = []
    for n, task in enumerate(tasks):
        try:
            image, choices = _image_and_choices(task)
        except (AttributeError, TypeError, KeyError):
            raise ValueError(f"{path} looks like Label Studio's export, but task {n} is none") from None
        if len(choices) > 1:
            told = ", ".join(map(str, choices))
            raise ValueError(f"{path}: {image} has the choices {told}: one class an image is needed")
        records.append({"path": image, "label": choices[0] if choices else ""})
    return records


def _image_and_choices(task: dict) -> tuple[str, list]:
    image = next((v for k, v in task["data"].items() if k in ("image", "img", "path", "url")), None)
    image = image or next((v for v in task["data"].values() if isinstance(v, str)), "")
    choices: list = []
    for annotation in task["annotations"]:
        if not annotation.get("was_cancelled"):
            results = [r.get("value", {}).get("choices") for r in annotation.get("result", [])]
            choices = [*next((c for c in results if c), choices)]
    return image, choices


# ---------------------------------------------------------------- Parquet and data frames


def _parquet(path: Path, content: bytes) -> LabelTable:
    table = parquet_table(path, content, TABLE_BYTES)
    names = class_names(table.schema.metadata or {})
    records = table.to_pylist()
    for column, classes in names.items():
        for record in records:
            if isinstance(k := record.get(column), int) and 0 <= k < len(classes):
                record[column] = classes[k]
    named = [f"class names of column {column} from its schema" for column in names]
    return of_records(path.name, records, tuple(named))


def parquet_table(path: Path, content: bytes, at_most: int):
    """A Parquet file's content as pyarrow's table of at most so many bytes. Raises ValueError."""
    try:
        from pyarrow import parquet
    except ImportError:
        raise ValueError(
            f"{path} is a Parquet file, which is read with the package pyarrow: pip install pyarrow"
        ) from None
    try:
        file = parquet.ParquetFile(io.BytesIO(content))
        told = file.metadata
        size = sum(told.row_group(i).total_byte_size for i in range(told.num_row_groups))
        if size > at_most or told.num_rows > PARQUET_ROWS:
            raise ValueError(f"{told.num_rows} rows, {size / 1e6:.0f} MB: more than such a table takes")
        return file.read()
    except Exception as error:  # a damaged file makes pyarrow raise all sorts
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from None


def class_names(metadata: dict) -> dict[str, list[str]]:
    """{column: class names} as Hugging Face's datasets write them into a schema."""
    try:
        columns = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {column: kind["names"] for column, kind in columns.items() if kind.get("names")}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def as_file(labels, folder: Path):
    """`labels` as the path of a file: that itself, or a data frame (or a list of dictionaries) kept in
    `folder`.

    The file is named after its content, so the same table is the same file again. Raises ValueError with one
    sentence for anything else.
    """
    if labels is None or isinstance(labels, (str, Path)):
        return None if labels in (None, "") else str(labels)
    if hasattr(labels, "to_dict") and hasattr(labels, "columns"):
        records = labels.reset_index(drop=True).to_dict("records")
    elif isinstance(labels, (list, tuple)) and labels and all(isinstance(row, dict) for row in labels):
        records = list(labels)
    else:
        raise ValueError(
            f"labels of type {type(labels).__name__} are not allowed: give the path of a {KINDS} file, or a "
            "DataFrame with a row an image"
        )
    import hashlib

    table = of_records("labels", records)
    content = csv_bytes([dict(zip(table.header, row)) for row in table.rows], tuple(table.header))
    path = folder / f"labels-{hashlib.blake2b(content, digest_size=8).hexdigest()}.csv"
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        save_atomically(path, content)
    return str(path)
