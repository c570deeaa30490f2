"""Hugging Face's data sets, saved ones and those of the hub, as `packed` reads them.

Data and nothing else: `datasets` runs no scripts from version 4 on, and images are read undecoded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..files import shortened
from .archives import named
from .folders import PARTS
from .packed import IMAGE_BYTES, Packed, Sample, state_of

SAVED = ("dataset_dict.json", "state.json")  # of `save_to_disk`


def of_hub(name: str, split: str | None, image_column: str | None) -> Packed:
    """`hf:PATH` (of save_to_disk, or a folder or file that load_dataset reads) or `hf:USER/NAME[/CONFIG]`.

    split: names separated by commas, None = all; image_column: None = the first of images. Raises ValueError
    and FileNotFoundError with one sentence.
    """
    datasets = library()
    path = Path(name[3:]).expanduser()
    asked = f"{name} {split or ''} {image_column or ''}".strip()
    if not path.exists():
        parts = fetched(name, split)
        prints = "".join(one._fingerprint for one in parts.values())
        home = Path(datasets.config.HF_CACHE_HOME)
        return Packed(
            asked, prints, lambda work, notes: samples(parts, split, image_column, home, name, notes)
        )
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())

    def read(work: Path, notes: list[str]) -> Iterator[Sample]:
        inside = path if path.is_dir() else path.parent
        yield from samples(local(path, name, work), split, image_column, inside, name, notes)

    return Packed(asked, f"{split} {image_column} {state_of(files)}", read)


def library() -> Any:
    """The package `datasets`. Raises ValueError with one sentence where it is missing."""
    try:
        import datasets
    except ImportError:
        raise ValueError(
            "data sets hf:... are read with the package datasets: pip install 'lnl-kit[hf]'"
        ) from None
    if int(datasets.__version__.partition(".")[0]) < 4:
        raise ValueError(
            f"datasets {datasets.__version__} may run scripts of data sets: pip install 'lnl-kit[hf]' brings "
            "one that does not"
        )
    return datasets


def fetched(name: str, split: str | None) -> dict[str, Any]:
    """{split: data set} of the hub, from Hugging Face's own cache where it is there."""
    datasets = library()
    owner, _, config = name[3:].partition("/")
    own, _, config = config.partition("/")
    try:
        found = datasets.load_dataset(f"{owner}/{own}".rstrip("/"), config or None)
    except Exception as error:  # the library raises all sorts
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FileNotFoundError(
            f"{name} is no folder here, and was not found on the hub ({reason[:200]}): give hf:PATH, or "
            "hf:USER/NAME[/CONFIG] where there is a connection"
        ) from None
    return dict(found)


def local(path: Path, name: str, work: Path) -> dict[str, Any]:
    """{split: data set} of a path; what must be converted goes to `work`."""
    datasets = library()
    try:
        if any((path / saved).is_file() for saved in SAVED):
            found = datasets.load_from_disk(str(path))
            return {"train": found} if isinstance(found, datasets.Dataset) else dict(found)
        if path.is_file():
            return {"train": datasets.Dataset.from_parquet(str(path), cache_dir=str(work))}
        return dict(datasets.load_dataset(str(path), cache_dir=str(work)))
    except Exception as error:  # the library raises all sorts
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{name} is no data set that the package datasets reads ({reason[:200]}): give what save_to_disk "
            "wrote, or a folder of Parquet files"
        ) from None


def samples(
    parts: dict[str, Any],
    split: str | None,
    image_column: str | None,
    inside: Path,
    name: str,
    notes: list[str],
) -> Iterator[Sample]:
    """Every image of the splits that are asked for."""
    datasets = library()
    for own, part in chosen(parts, split, name, notes).items():
        held = parts[own]
        image = image_of(held.features, image_column, name)
        classes = {k: f.names for k, f in held.features.items() if isinstance(f, datasets.ClassLabel)}
        columns = [k for k, f in held.features.items() if k in classes or isinstance(f, datasets.Value)]
        read = held.select_columns([*dict.fromkeys([image, *columns])])
        if isinstance(held.features[image], datasets.Image):
            read = read.cast_column(image, datasets.Image(decode=False))
        for row in read:
            found = row.pop(image)
            found = found if isinstance(found, dict) else {"bytes": found}
            path, content = found.get("path"), found.get("bytes")
            if content is None and path:
                content = content_of(Path(path), inside)
            values = {k: named(v, classes.get(k)) for k, v in row.items()}
            yield Sample(part, path or "", content, {k: v for k, v in values.items() if v is not None})


def content_of(path: Path, inside: Path) -> bytes | None:
    """The bytes of a file that a data set names, where it lies in the set's own folder; else None."""
    real, base = Path(os.path.realpath(path)), Path(os.path.realpath(inside))
    if not real.is_relative_to(base) or not real.is_file() or real.stat().st_size > IMAGE_BYTES:
        return None
    return real.read_bytes()


def chosen(parts: dict[str, Any], split: str | None, name: str, notes: list[str]) -> dict[str, str]:
    """{split: train, val or test} of those asked for. Raises ValueError for one that is not there."""
    wanted = [one.strip() for one in split.replace("+", ",").split(",")] if split else list(parts)
    if unknown := [one for one in wanted if one not in parts]:
        raise ValueError(f"{name} has no split {unknown[0]!r}: it has {', '.join(parts)}")
    if len(wanted) == 1:
        found = {wanted[0]: "train"}
    elif split:
        found = {one: PARTS.get(one.lower(), "train") for one in wanted}
    else:
        found = {one: PARTS[one.lower()] for one in wanted if one.lower() in PARTS}
        if others := [one for one in wanted if one not in found]:
            notes.append(f"split {', '.join(others)} left out (--split names those to read)")
    unread = [one for one in parts if one not in wanted]
    if unread:
        notes.append(f"split {', '.join(unread)} not read")
    return found


def image_of(features: Any, wanted: str | None, name: str) -> str:
    """The column of images. Raises ValueError."""
    datasets = library()
    binary = ("binary", "large_binary")
    there = [k for k, f in features.items() if isinstance(f, datasets.Image)]
    there = there or [k for k, f in features.items() if getattr(f, "dtype", "") in binary]
    if wanted is not None and wanted not in there:
        raise ValueError(f"{name} has no column {wanted!r} of images: {', '.join(there) or 'none'} is one")
    if not there:
        raise ValueError(f"{name} has no column of images: its columns are {shortened([*features])}")
    return wanted or there[0]
