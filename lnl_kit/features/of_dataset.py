"""Features of the images of a data set: from their files where there are files, else from their pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..data.dataset import Dataset
from ..files import data_root, read_npz
from ..files.machine import free_memory
from . import kinds
from .extract import PLAIN, Features, extract
from .pictures import Files, Pixels


def features_of(
    source: Dataset,
    names: str,
    index: np.ndarray | None = None,
    *,
    test: bool = False,
    view: str = PLAIN,
    draw: int = 0,
    size: int | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> Features:
    """The features of the training (or test) images of a data set, or of those at `index` (n,).

    names: backbones separated by commas, or `npz:PATH` (see `own`). They are kept under the folder of the
        data sets, in `cache/features`.
    """
    for name in names.split(","):
        kinds.check(name.strip())
    if names.startswith("npz:"):
        return own(source, Path(names[4:]).expanduser(), index, test)
    cache = data_root() / "cache" / "features"
    return extract(
        images_of(source, index, test, cache / "keys"),
        names,
        cache,
        view=view,
        draw=draw,
        size=size,
        device=device,
        progress=progress,
    )


def images_of(source: Dataset, index: np.ndarray | None, test: bool, memo: Path) -> Files | Pixels:
    """The images themselves, all or those at `index`."""
    paths, x = (source.test_paths, source.test_x) if test else (source.paths, source.x)
    rows = np.arange(len(x)) if index is None else np.asarray(index)
    if paths is None or source.folder is None:
        return Pixels(np.asarray(x[rows]))
    return Files(source.folder, [paths[i] for i in rows], memo, source.max_pixels, source.follow_links)


def own(source: Dataset, path: Path, index: np.ndarray | None, test: bool) -> Features:
    """One's own features from an .npz: `features` (N, D), a row for each training image in order (of the
    files' names within their classes), or with `paths` (N,) in any order; `test_features` (M, D) where a test
    set is needed.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {path}: npz:PATH names an .npz with an array `features` (N, D)"
        )
    try:
        held = read_npz(path, free_memory())
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{path} is no .npz of arrays ({error}): write it by numpy.savez(path, features=...)"
        ) from None
    key = "test_features" if test else "features"
    if key not in held or held[key].ndim != 2:
        shape = f"of shape {held[key].shape}" if key in held else "missing"
        raise ValueError(f"{path}: the array `{key}` is {shape}; needed is one row an image, (N, D)")
    values, names = held[key], (source.test_paths or ()) if test else source.names
    if "paths" in held and not test:
        at = {str(p).removeprefix("train/"): i for i, p in enumerate(held["paths"])}
        lacking = [n for n in names if n.removeprefix("train/") not in at]
        if lacking:
            raise ValueError(
                f"{path} has no features of {len(lacking)} of {len(names)} images, such as {lacking[0]}"
            )
        order = np.array([at[n.removeprefix("train/")] for n in names])
    else:
        count = len(source.test_y) if test else len(names)
        if len(values) != count:
            raise ValueError(
                f"{path}: `{key}` has {len(values)} rows and there are {count} images; give one row an "
                "image in their order, or an array `paths` beside them"
            )
        order = np.arange(count)
    if not np.isfinite(values).all():
        raise ValueError(
            f"{path}: `{key}` holds {int((~np.isfinite(values)).sum())} values that are not finite"
        )
    order = order if index is None else order[np.asarray(index)]
    largest = np.abs(values).max(initial=0)
    if largest > 6e4:  # float16 ends there
        values = values / (largest / 1e3)
    return Features(((values.astype(np.float16 if values.dtype != np.float16 else values.dtype), order),))
