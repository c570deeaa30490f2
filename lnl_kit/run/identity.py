"""What makes two runs the same: what decides the result, digests of code and labels, the folder's name."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import platform
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .. import __version__
from ..data import naming
from ..features import kinds
from ..files import safe

if TYPE_CHECKING:
    from .prepared import Prepared

PACKAGE = "lnl_kit."  # what the names of its modules begin with


def source_of(fn) -> str:
    """The text of the file that a function stands in, or of the function typed into a notebook."""
    try:
        module: Any = sys.modules.get(fn.__module__)
        return inspect.getsource(module if getattr(module, "__file__", None) else fn)
    except (OSError, TypeError):
        return ""


def decides(prepared: Prepared) -> dict:
    """What decides a run's result: its hash is made of these, so another value is another run."""
    plan, source = prepared.plan, prepared.source
    second = prepared.second_index
    features = (
        {"features": kinds.identity(plan.features), "feature_views": plan.feature_views}
        if plan.features
        else {}
    )
    return (
        features
        | {
            "method": plan.name,
            "settings": dataclasses.asdict(plan.settings),
            "model": plan.model,
            "dataset": source.slug if source.name.startswith(naming.OWN) else source.name,
            "like": source.like,
            "noise": plan.noise.partition(":")[0],
            "rate": plan.rate,
            "seed": plan.seed,
            "precision": prepared.precision,
            "noisy_val": plan.noisy_val,
            "keep": sorted(plan.keep),
            "train_images": len(prepared.index),
            "fingerprint": source.fingerprint,
            "labels_digest": digest(prepared.given, prepared.index, prepared.test_index, second),
            "method_digest": method_digest(plan.function, plan.settings_class),
        }
        | {key: value for key in ("open_set", "imbalance") if (value := getattr(plan, key))}
        | (
            {}
            if prepared.known is None
            else {"clean_share": plan.clean_share or None, "clean_digest": digest(prepared.known)}
        )
    )


def recorded(prepared: Prepared) -> dict:
    """What settings.json holds beside: how the run was asked for, and what is needed to open it again."""
    plan, source = prepared.plan, prepared.source
    return {
        "preset": plan.preset,
        "dataset_path": naming.absolute(plan.dataset),
        "labels_file": plan.labels and str(Path(plan.labels).absolute()),
        "path_column": plan.path_column,
        "label_column": plan.label_column,
        "annotators": plan.annotators,
        "true_column": plan.true_column,
        "image_size": plan.image_size,
        "image_shape": list(source.x.shape[1:]),
        "train_size": plan.train_size,
        "clean_list": plan.clean_list and str(Path(plan.clean_list).absolute()),
        "noise_file": str(Path(plan.noise[7:]).absolute()) if plan.noise.startswith("matrix:") else None,
        "skip_bad": plan.skip_bad,
        "not_given": plan.not_given,
        "versions": versions(),
        "classes": source.classes,
        "mean": source.mean,
        "std": source.std,
        "split": plan.split if isinstance(plan.split, bool) else list(plan.split),
        "recursive": plan.recursive,
        "max_pixels": plan.max_pixels,
        "follow_links": plan.follow_links,
        "image_column": plan.image_column,
        "hf_split": plan.hf_split,
    } | (
        {"features": kinds.absolute(plan.features), "features_seen": kinds.identity(plan.features)}
        if plan.features
        else {}
    )


def run_folder(root: Path, prepared: Prepared) -> Path:
    """root/<method>/<dataset>/<noise>-<rate>/seed<seed>-<hash of what decides the result>."""
    plan = prepared.plan
    key = json.dumps(json.loads(json.dumps(decides(prepared))), sort_keys=True)  # as it will be read back
    hash8 = hashlib.blake2b(key.encode(), digest_size=4).hexdigest()
    labels = f"{safe(plan.labels_slug)}-{plan.rate:g}"
    return root / safe(plan.name) / safe(prepared.source.slug) / labels / f"seed{plan.seed}-{hash8}"


def versions() -> dict[str, str]:
    """Versions that a result may depend on."""
    return {
        "lnl_kit": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def method_digest(function, settings_class) -> str:
    """A digest of the method's own source.

    A built-in method: its file, and the files beside it that it imports. A function of one's own: its source,
    defaults and what it refers to outside installed packages (constants, helper functions, closures), and its
    settings class.
    """
    if (function.__module__ or "").startswith(PACKAGE):
        module = sys.modules[function.__module__]
        imported = [m for m in vars(module).values() if isinstance(m, types.ModuleType)]
        beside = [m for m in imported if m.__name__.startswith(f"{module.__package__}.")]
        text = "\n".join(inspect.getsource(m) for m in (module, *beside))
    else:
        seen: dict[int, str] = {}
        describe(function, seen)
        describe(settings_class, seen)
        text = "\n".join(seen.values())
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def describe(thing, seen: dict[int, str]) -> None:
    """Add the source of a function or class, and of what it refers to, to `seen`; plain values as text."""
    if id(thing) in seen:
        return
    if isinstance(thing, (types.FunctionType, type)):
        module = sys.modules.get(thing.__module__)
        where = getattr(module, "__file__", None) or ""
        if (thing.__module__ or "").startswith(PACKAGE) or "site-packages" in where or "/lib/python" in where:
            return
        try:
            seen[id(thing)] = inspect.getsource(thing)
        except (OSError, TypeError):
            seen[id(thing)] = code_text(thing.__code__) if hasattr(thing, "__code__") else repr(thing)
        if isinstance(thing, types.FunctionType):
            seen[id(thing)] += repr((thing.__defaults__, thing.__kwdefaults__))
            used = inspect.getclosurevars(thing)
            for name, value in sorted({**used.globals, **used.nonlocals}.items()):
                if isinstance(value, types.FunctionType | type):
                    describe(value, seen)
                elif isinstance(value, int | float | str | bool | tuple | list | dict | None):
                    seen[id(thing)] += f"{name}={value!r}"


def code_text(code) -> str:
    """The byte code of a function without source, with that of the functions inside it."""
    inner = [code_text(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return repr((code.co_code, code.co_names, inner))


def digest(*arrays) -> str:
    """A digest of integer arrays; None counts as absent."""
    h = hashlib.blake2b(digest_size=8)
    for a in filter(lambda a: a is not None, arrays):
        h.update(np.ascontiguousarray(a, dtype=np.int64).tobytes())
    return h.hexdigest()
