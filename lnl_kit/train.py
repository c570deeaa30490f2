"""`train`: from a method's name (or a function of one's own) to a finished run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import json
import os
import platform
import re
import shutil
import sys
import types
from numbers import Integral
from pathlib import Path

import numpy as np
import torch

from . import __version__, augment, clean_subset, data, methods, models, noise as noise_models
from .batches import NoisyData
from .evaluate import COLUMNS, Evaluator
from .large_sets import OWN_NOISE
from .presets import resolve
from .results import OpenedRun, open_run
from .rng import seed_of
from .run import Run, RunError, csv_bytes, lock, save_atomically
from .settings import COMPILES, KEEPS, PRECISIONS, Settings, make
from .streams import Stream, pick, resident

ONLY_RECORDED = ("preset", "dataset_path", "labels_file", "versions", "not_given", "image_size", "label_column",
                 "true_column", "classes", "mean", "std", "split")  # in settings.json, not in the hash


def runs_root(out: str | Path | None = None) -> Path:
    """The root of the run folders: `out`, else $LNL_RUNS, else runs/ beside the pyproject.toml found upwards
    from the current folder, else ./runs."""
    if out or os.environ.get("LNL_RUNS"):
        return Path(out or os.environ["LNL_RUNS"]).absolute()
    return data.project_folder() / "runs"


def train(method, dataset: str = "digits", noise: str | None = None, rate: float | None = None,
          preset: str = "quick", seed: int = 0, *, labels: str | None = None, label_column: str | None = None,
          true_column: str | None = None, like: str | None = None, model: str | None = None,
          train_size: int | None = None, image_size: int | None = None, noisy_val: float = 0.0,
          clean_share: float | None = None, clean_list: str | None = None,
          keep: tuple[str, ...] = (), device: str = "auto", precision: str = "auto", compile: str = "auto",
          out: str | Path | None = None, fresh: bool = False, skip_bad: bool = False, split: bool = True, progress: bool = True,
          on_interrupt: str = "return", on_folder=None, on_epoch=None, settings_class: type[Settings] = Settings,
          **settings) -> OpenedRun:
    """Train a method and return its run; a finished run is loaded, an interrupted one goes on.

    method: a name of `lnl methods`, or a function `(data, settings, run)` of one's own (its settings are
        `settings_class`, by default the plain recipe).
    noise, rate: see `lnl_kit.noise`; by default symmetric 0.5, or the labels as they come with `labels` and for
        clothing1m and webvision.
    preset: quick | demo | paper | paper:NAME; keyword arguments in `settings` override its values.
    noisy_val: share of the training images held out with their given labels, the honest stopping rule.
    clean_share, clean_list: labels known to be right (`NoisyData.clean`), that synthetic noise leaves alone: a share of
        each class, by default what the method needs, or a CSV file of images (see `clean_subset.read`). The noise rate
        still holds over all images.
    keep: "features" and/or "weights" (of the tested network at the history's epochs).
    split: False trains on all images of a folder without `test/`, those of the test set among them (see `data.load`).
    on_folder: called with the run's folder before training starts. on_epoch: called with the rows of metrics so far after each
        epoch that is saved; a KeyboardInterrupt that it raises ends the training as Ctrl-C does.
    Ctrl-C returns the run as of the last finished epoch (`on_interrupt="raise"`: raises KeyboardInterrupt).
    Raises ValueError or FileNotFoundError with one sentence for bad input, RunError when training cannot go on.
    """
    name, function, settings_class = find_method(method, settings_class)
    seed, keep = check_choices(seed, precision, compile, keep, on_interrupt)
    unasked = noise is None and dataset.startswith("folder:") and not labels
    noise, rate = default_noise(noise, rate, labels, dataset)
    if label_column and not labels and noise != "human":
        raise ValueError(f"label column {label_column!r} of which file? Give labels=FILE.csv (--labels) too, or noise human")
    like_name = like or dataset.partition(":")[0]
    noise_models.check(noise, rate, like_name)
    if not 0 <= noisy_val < 1:
        raise ValueError(f"noisy_val {noisy_val} is outside [0, 1)")
    plan = resolve(preset, name, settings_class, dataset=like_name, noise=noise, rate=rate)
    chosen = make(settings_class, **(plan.settings | settings))
    device = find_device(device)
    if train_size is not None and train_size < 2:
        raise ValueError(f"train_size {train_size} is not allowed: at least 2 images")
    models.check(model or plan.model)
    for key in ("view", "teacher_view"):
        if hasattr(chosen, key):
            augment.view(getattr(chosen, key))
    compile = {"auto": "off", "on": "default"}.get(compile, compile)

    source = data.load(dataset, image_size=image_size or plan.image_size, labels=labels, label_column=label_column,
                       true_column=true_column, like=like, skip_bad=skip_bad, split=split)
    share = settings_class.clean_share if clean_share is None and not clean_list else clean_share or 0.0
    clean, checked = find_clean(source, share, clean_list, noise, seed)
    given, true = draw_labels(source, noise, rate, seed, label_column, clean, checked, share)
    if unasked:
        print(f"{dataset}: its labels are made wrong by {noise} noise, {rate:g}, as no noise was named; noise none (--noise none) "
              "takes them as they are", file=sys.stderr)
    size = train_size or plan.train_size
    index = choose(given, size, seed) if clean is None else choose_with(clean, given, size, share, seed)
    test_index = choose(source.test_y.numpy(), plan.test_size, 0)
    second = source.second_test
    second_index = None if second is None else choose(second.y.numpy(), plan.test_size, 0)
    held_out = hold_out(len(index), noisy_val, seed)
    index, val_index = index[~held_out], index[held_out]
    if clean is not None:
        clean_subset.require_every_class(given[index], clean[index], source.classes)

    slug = (f"human-{label_column}" if noise == "human" else f"labels-{label_column or 'given'}" if labels
            else f"matrix-{Path(noise[7:]).stem}" if noise.startswith("matrix:") else noise)
    decides = {
        "method": name, "settings": dataclasses.asdict(chosen), "model": model or plan.model, "dataset": source.name
        if not source.name.startswith("folder:") else source.slug, "like": source.like, "noise": noise.partition(":")[0], "rate": rate,
        "seed": seed, "precision": precision, "noisy_val": noisy_val, "keep": sorted(keep),
        "train_images": len(index), "fingerprint": source.fingerprint,
        "labels_digest": digest(given, index, test_index, second_index),
        "method_digest": method_digest(function, settings_class),
        "preset": preset, "dataset_path": absolute(dataset), "labels_file": labels and str(Path(labels).absolute()), "label_column": label_column,
        "true_column": true_column, "image_size": image_size or plan.image_size, "not_given": plan.not_given,
        "versions": versions(), "classes": source.classes, "mean": source.mean, "std": source.std, "split": split,
    }
    if clean is not None:
        decides |= {"clean_share": share or None, "clean_digest": digest(clean[index])}
    decides = json.loads(json.dumps(decides))  # as it will be read back
    key = json.dumps({k: v for k, v in decides.items() if k not in ONLY_RECORDED}, sort_keys=True)
    hash8 = hashlib.blake2b(key.encode(), digest_size=4).hexdigest()
    root = runs_root(out)
    folder = root / safe(name) / safe(source.slug) / f"{safe(slug)}-{rate:g}" / f"seed{seed}-{hash8}"
    make_folder(folder)
    if on_folder:
        on_folder(folder)
    with lock(folder):
        if fresh:
            clear(folder)
        for left in folder.glob(".*.*"):  # temporary files of a killed process
            left.unlink(missing_ok=True)
        if (folder / "summary.json").exists():
            run = open_run(folder)
            before = run.settings["versions"]["lnl_kit"]
            if before != __version__:
                print(f"loaded a run of lnl_kit {before} (this is {__version__}): --fresh trains it again",
                      file=sys.stderr)
            return run
        save_atomically(folder / "settings.json", json_bytes(decides))
        truth = None if true is None else true[index]
        write_labels(folder / "labels.csv", source, index, given[index], truth, None if clean is None else clean[index])
        if source.skipped:
            save_atomically(folder / "skipped.csv", csv_bytes(
                [{"path": p, "reason": r} for p, r in source.skipped], ("path", "reason")))
        noisy = NoisyData(rows(source.x, index), torch.from_numpy(given[index]), source.classes, mean=source.mean,
                          std=source.std, like=source.like, batch_size=chosen.batch_size, seed=seed, device=device,
                          clean=None if clean is None else torch.from_numpy(clean[index]),
                          transition=expected_transition(noise, rate, source) if "true T" in chosen.uses else None)
        val = (rows(source.x, val_index), given[val_index]) if len(val_index) else None
        if second is not None:
            second = (second.name, rows(second.x, second_index), second.y.numpy()[second_index])
        evaluator = Evaluator(noisy, given[index], truth, rows(source.test_x, test_index),
                              source.test_y.numpy()[test_index], val, second)
        run = Run(folder, data=noisy, evaluator=evaluator, model=model or plan.model, seed=seed, precision=precision,
                  compile=compile, keep=tuple(keep), progress=progress, root=root, name=f"{name} seed {seed}",
                  images=f"{source.fingerprint} {digest(index, test_index)}", on_epoch=on_epoch)
        wrong = "unknown" if truth is None else f"{noise_models.actual_rate(given[index], truth):.1%}"
        if progress:
            print(f"{len(index)} training images, share of wrong labels: {wrong}", file=sys.stderr)
        try:
            function(noisy, chosen, run)
        except KeyboardInterrupt:
            if on_interrupt != "return":
                raise
            print(f"stopped: {folder} holds the last finished epoch, and the same call goes on from there",
                  file=sys.stderr)
            return open_run(folder)
        except torch.OutOfMemoryError:
            raise RunError(f"the {device.type} is out of memory: a smaller batch_size ({chosen.batch_size} now) or "
                           f"network helps; {folder} holds the last finished epoch") from None
        if len(run.rows) < chosen.epochs:
            raise RunError(f"{name} ended after {len(run.rows)} of {chosen.epochs} epochs: its loop must be "
                           "`for epoch in run.epochs(state, settings.epochs)`")
        uses = [*chosen.uses, *([f"{clean.mean():.0%} clean labels"] if clean is not None and settings_class.clean_share
                                        else [])]
        identity = {"method": name, "dataset": source.slug, "noise": slug, "rate": rate,
                    "actual_rate": None if truth is None else noise_models.actual_rate(given[index], truth),
                    "seed": seed, "preset": preset, "model": model or plan.model, "train_images": len(index),
                    "epochs": chosen.epochs}
        save_atomically(folder / "summary.json",
                        json_bytes(identity | summarise(run, uses)), durable=True)
        return open_run(folder)


def find_method(method, settings_class):
    """(name, train function, settings class) of a built-in name or of a function of one's own."""
    if isinstance(method, types.FunctionType):
        if any(method is known for known, _ in methods.METHODS.values()) and settings_class is Settings:
            raise ValueError(f"{method.__name__} is built in: ask for it by its name, one of {', '.join(methods.METHODS)}")
        return method.__name__.removeprefix("train_"), method, settings_class
    if method not in methods.METHODS:
        raise ValueError(f"method {method!r} does not exist: {', '.join(methods.METHODS)}")
    return method, *methods.METHODS[method]


def check_choices(seed, precision: str, compile: str, keep, on_interrupt: str) -> tuple[int, tuple[str, ...]]:
    """(seed, keep) as a number and a tuple; what `train` does not know is refused in one sentence."""
    keep = (keep,) if isinstance(keep, str) else tuple(keep)
    if not isinstance(seed, Integral) or isinstance(seed, bool):
        raise ValueError(f"seed {seed!r} is not allowed: a whole number")
    for name, value, allowed in (("precision", precision, PRECISIONS), ("compile", compile, (*COMPILES, "on")),
                                 ("on_interrupt", on_interrupt, ("return", "raise")), *(("keep", k, KEEPS) for k in keep)):
        if value not in allowed:
            raise ValueError(f"{name} {value!r} does not exist: {', '.join(allowed)}")
    return int(seed), keep


def default_noise(noise, rate, labels, dataset):
    """Noise and rate as asked for, with their defaults; combinations that contradict are refused."""
    if dataset in OWN_NOISE and noise not in (None, "none"):
        raise ValueError(f"noise {noise} on {dataset}: its labels are wrong by themselves and the truth is unknown, so "
                         "its noise is none")
    if labels and noise not in (None, "none"):
        raise ValueError(f"noise {noise} beside --labels: labels from a file are taken as they come; drop one of them")
    noise = noise or ("none" if labels or dataset in OWN_NOISE else "symmetric")
    without_rate = noise in ("none", "human") or noise.startswith("matrix:")
    if rate is None:
        rate = 0.0 if without_rate else 0.5
    return noise, float(rate)


def find_clean(source, share, clean_list, noise, seed):
    """(clean bool (N,), their right labels int64 (N,), -1 = as they stand), or (None, None) without a clean subset."""
    if clean_list and share:
        raise ValueError("--clean-share beside --clean-list: the list says which labels are right; drop one of them")
    if clean_list:
        return clean_subset.read(clean_list, source.names, source.classes)
    if not share:
        return None, None
    simulated = noise not in ("none", "human")  # then a folder's classes count as true
    labels = source.true_labels if source.true_labels is not None or not simulated else source.given_labels
    if labels is None:
        raise ValueError(f"clean share {share:g}: nobody knows which labels of {source.name} are right; list images that you "
                         "have checked with --clean-list FILE.csv, or set --clean-share 0")
    return clean_subset.draw(labels.numpy(), share, seed), np.full(len(labels), -1)


def draw_labels(source, noise, rate, seed, label_column, clean=None, checked=None, share=0.0):
    """(given, true) as int64 arrays over the whole training set; true is None where it is unknown.

    The images in `clean`, bool (N,), have their right label: that in `checked` (N,), where that is -1 the true one, where
    it is unknown the given one. Synthetic noise acts on the others, at a higher rate.
    """
    given, true = with_noise(source, noise, rate, seed, label_column, clean, share)
    if clean is not None:
        given = np.where(clean, np.where(checked >= 0, checked, given if true is None else true), given)
    return given, true


def with_noise(source, noise, rate, seed, label_column, clean, share):
    """What `draw_labels` returns, synthetic noise outside `clean` alone."""
    true = None if source.true_labels is None else source.true_labels.numpy()
    if noise == "human":
        if not label_column:
            raise ValueError("noise human needs --label-column: aggre, worst, random1, random2 or random3 for "
                             "cifar10, noisy_fine for cifar100")
        return data.human_labels(source.name, label_column, true_labels=source.true_labels).numpy(), true
    if noise == "none":
        return (true if source.given_labels is None else source.given_labels.numpy()), true
    if true is None:  # a folder's classes count as true: a simulation
        true = source.given_labels.numpy()
    free = np.ones(len(true), dtype=bool) if clean is None else ~clean
    if clean is not None and not noise.startswith("matrix:"):
        rate = clean_subset.compensated(rate, share or clean.mean())
    given = true.copy()
    given[free] = noise_models.noisy_labels(true[free], noise, rate, seed, num_classes=len(source.classes), like=source.like,
                                            images=source.x[torch.from_numpy(free)].numpy() if noise == "instance" else None)
    return given, true


def expected_transition(noise, rate, source) -> np.ndarray | None:
    """(K, K), row = true class, of synthetic noise that has such a matrix, for methods that ask for the true one."""
    if noise in ("none", "human", "instance"):
        return None
    return noise_models.transition_matrix(noise, rate, len(source.classes), like=source.like)


def choose(labels: np.ndarray, size: int | None, seed: int) -> np.ndarray:
    """Sorted indices of at most `size` images, even over the classes of `labels`, drawn by the seed."""
    if size is None or size >= len(labels):
        return np.arange(len(labels))
    order = np.random.RandomState(seed_of("subset", seed) % 2**32).permutation(len(labels))  # not the noise's stream
    rank = np.empty(len(labels), dtype=np.int64)  # how many of its class come before it in the draw
    for k in np.unique(labels):
        members = order[labels[order] == k]
        rank[members] = np.arange(len(members))
    return np.sort(order[np.argsort(rank[order], kind="stable")][:size])


def choose_with(clean: np.ndarray, labels: np.ndarray, size: int | None, share: float, seed: int) -> np.ndarray:
    """Like `choose`, with the clean images, bool (N,), at their share; all of them where they come from a list."""
    if size is None or size >= len(labels):
        return np.arange(len(labels))
    parts, kept = (np.flatnonzero(clean), np.flatnonzero(~clean)), round(size * share) if share else clean.sum()
    return np.sort(np.concatenate([part[choose(labels[part], n, seed)] for part, n in zip(parts, (kept, max(0, size - kept)))]))


def hold_out(n: int, share: float, seed: int) -> np.ndarray:
    """bool (n,): the round(share * n) images held out for validation on given labels."""
    held = np.zeros(n, dtype=bool)
    held[np.random.RandomState(seed_of("noisy val", seed) % 2**32).permutation(n)[:round(share * n)]] = True
    return held


def rows(images: torch.Tensor | Stream, index: np.ndarray) -> torch.Tensor | Stream:
    """The images at these sorted indices, in memory if they fit; the whole set is passed on as it is, uncopied."""
    return resident(images if len(index) == len(images) else pick(images, torch.from_numpy(index)))


def summarise(run: Run, uses: list[str]) -> dict:
    """The metric fields of summary.json."""
    accuracies = [r["test_accuracy"] for r in run.rows]
    last = run.rows[-1]
    seconds = sum(r["epoch_seconds"] + r["evaluation_seconds"] for r in run.rows) + run.saving_seconds
    summary = {
        "seconds": seconds, "stage_seconds": run.stage_seconds, "seconds_per_epoch": float(np.median([r["epoch_seconds"] for r in run.rows])),
        "images_per_second": float(np.median([r["images_per_second"] for r in run.rows])),
        "inference_seconds": run.inference_seconds, "device": device_name(run.device), "precision": run.precision,
        "threads": torch.get_num_threads(), "compile": run.compile, "versions": versions(), "uses": uses,
        "test_accuracy_best": max(accuracies), "test_accuracy_mean_last10": float(np.mean(accuracies[-10:])),
        "test_accuracy_at_best_noisy_val": None,
    }
    if run.evaluator.noisy_val is not None:
        best = max(run.rows, key=lambda r: r["noisy_val_accuracy"])
        summary["test_accuracy_at_best_noisy_val"] = best["test_accuracy"]
    skip = {"epoch", "epoch_seconds", "evaluation_seconds", "images_per_second"}
    columns = dict.fromkeys([*COLUMNS, *last])
    return summary | {f"{c}_last": last.get(c) for c in columns if c not in skip}


def device_name(device: torch.device) -> str:
    """A readable name of the device: the GPU's, or the CPU's with its number of threads in use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())[1]
    return f"{model}, {torch.get_num_threads()} threads"


def versions() -> dict[str, str]:
    """Versions that a result may depend on."""
    return {"lnl_kit": __version__, "torch": torch.__version__, "numpy": np.__version__,
            "python": platform.python_version()}


def method_digest(function, settings_class) -> str:
    """A digest of the method's own source.

    A built-in method: its file. A function of one's own: its source, defaults and what it refers to outside
    installed packages (constants, helper functions, closures), and its settings class.
    """
    if (function.__module__ or "").startswith(f"{__package__}."):
        text = inspect.getsource(sys.modules[function.__module__])
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
    if isinstance(thing, types.FunctionType) or isinstance(thing, type):
        module = sys.modules.get(thing.__module__)
        where = getattr(module, "__file__", None) or ""
        if (thing.__module__ or "").startswith(f"{__package__}.") or "site-packages" in where or "/lib/python" in where:
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


def absolute(dataset: str) -> str:
    """`folder:PATH` with an absolute path, so that the run can be opened from anywhere; other names as they are."""
    kind, colon, path = dataset.partition(":")
    return f"{kind}:{Path(path).expanduser().absolute()}" if colon else dataset


def find_device(name: str) -> torch.device:
    """The device asked for, or a sentence that says which are there."""
    there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if name == "auto":
        return torch.device("cuda" if len(there) > 1 else "cpu")
    if name not in [*there, *(["cuda"] if len(there) > 1 else [])]:
        raise ValueError(f"device {name!r} is not here: there are {', '.join(there)}")
    return torch.device(name)


def digest(*arrays) -> str:
    """A digest of integer arrays; None counts as absent."""
    h = hashlib.blake2b(digest_size=8)
    for a in filter(lambda a: a is not None, arrays):
        h.update(np.ascontiguousarray(a, dtype=np.int64).tobytes())
    return h.hexdigest()


def safe(text: str) -> str:
    """`text` as part of a path."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-") or "unnamed"


def json_bytes(value: dict) -> bytes:
    """Indented JSON."""
    return (json.dumps(value, indent=1, default=str) + "\n").encode()


def make_folder(folder: Path) -> None:
    """Create a run folder, or say in one sentence why it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"cannot write in {folder}: {error.strerror}; choose another root with --out") from None


def clear(folder: Path) -> None:
    """Forget a run: the summary first, so that an interruption never leaves a run that looks finished."""
    for path in sorted(folder.iterdir(), key=lambda p: p.name != "summary.json"):
        if path.name != ".lock":
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def write_labels(path: Path, source, index, given, true, clean=None) -> None:
    """labels.csv: index, path, given, true (class names), one row per training image, usable by --labels; with a clean
    subset also clean (1 or 0)."""
    names = source.classes
    save_atomically(path, csv_bytes([
        {"index": int(i), "path": source.paths[i] if source.paths else None, "given": names[g],
         "true": None if true is None else names[true[n]]} | ({} if clean is None else {"clean": int(clean[n])})
        for n, (i, g) in enumerate(zip(index, given))], ("index", "path", "given", "true")))
