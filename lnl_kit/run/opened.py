"""Reading run folders: settings, metrics, arrays and predictions, without the method that made them."""

from __future__ import annotations

import csv
import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import __version__, data
from ..data import open_set
from ..data.batches import NoisyData
from ..data.streams import Stream, pick
from ..features import kinds
from ..features.training import FeatureData, features_for
from ..files import Hold, RunError, read_json, read_npz, read_table, remove, remove_leftovers
from ..toolbox import augment, models
from ..toolbox.rng import generator
from .autocast import autocast
from .device import choose_precision
from .evaluate import predict
from .state import Damaged, torch_read
from .summary import OUTSIDE
from .tables import load_state, rebuilt


class OpenedRun:
    """A run folder, finished or not. Everything is read when first asked for."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._networks: dict[int | None, list[models.Classifier]] = {}  # by epoch, as they are asked for
        if not (self.folder / "settings.json").exists():
            raise FileNotFoundError(
                f"{self.folder} is not a run folder: it has no settings.json; "
                "`lnl train` prints the folder of its run"
            )

    def __repr__(self) -> str:
        s = self.summary or {}
        state = (
            f"last {s['test_accuracy_last']:.3f}, best {s['test_accuracy_best']:.3f}" if s else "unfinished"
        )
        return f"<run {self.settings['method']} {self.folder}: {state}>"

    @functools.cached_property
    def settings(self) -> dict:
        """settings.json: everything that decides the result."""
        return read_json(self.folder / "settings.json")

    @property
    def summary(self) -> dict | None:
        """summary.json, or None while the run is unfinished."""
        path = self.folder / "summary.json"
        return read_json(path) if path.exists() else None

    @functools.cached_property
    def metrics(self) -> list[dict]:
        """One dictionary per epoch; a missing value is None."""

        def parse(path: Path) -> list[dict]:
            rows = [
                {k: None if v == "" else int(v) if k == "epoch" else float(v) for k, v in row.items()}
                for row in read_table(path)
            ]
            if summary is not None and len(rows) != summary["epochs"]:
                raise ValueError("epochs are missing")
            return rows

        summary = self.summary
        there = summary is not None or (self.folder / "metrics.csv").exists()
        return self._whole("metrics.csv", parse) if there else []

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """arrays.npz: final probabilities (N, K), scores, new labels and what else was kept."""
        return self._npz("arrays.npz")

    @functools.cached_property
    def history(self) -> dict[str, np.ndarray]:
        """history.npz: epochs (E,), index (n,), train_probs (E, n, K) and clean_score (E, n) in float16; with
        keep=("margins",) also margins and given_probs (all epochs, N), of every image.
        """
        return self._npz("history.npz")

    def _npz(self, name: str) -> dict[str, np.ndarray]:
        there = self.summary is not None or (self.folder / name).exists()
        return self._whole(name, read_npz) if there else {}

    def _whole(self, name: str, read):
        """What `read` makes of a table, which is made again from state.pt where it cannot be read."""
        path = self.folder / name
        try:
            return read(path)
        except (OSError, ValueError, KeyError, csv.Error):
            if not path.is_symlink() and (self.folder / "state.pt").exists():
                rebuilt(self.folder, name)
        try:
            return read(path)
        except (OSError, ValueError, KeyError, csv.Error) as error:
            raise RunError(
                f"{name} in {self.folder} cannot be read ({error}): train this run again with --fresh"
            ) from None

    @functools.cached_property
    def labels(self) -> dict[str, Any]:
        """labels.csv in training order: index, path, given and true class numbers (true is None if unknown),
        which are known to be right (clean, bool), and which show no class (outside, bool; their true is -1).
        """
        return self._whole("labels.csv", self._read_labels)

    def _read_labels(self, path: Path) -> dict[str, Any]:
        table = read_table(path)
        if len(table) != self.settings["train_images"]:
            raise ValueError(f"{len(table)} labels of {self.settings['train_images']} images")
        number = {name: k for k, name in enumerate(self.classes)} | {OUTSIDE: -1}
        true = [number.get(r["true"]) for r in table]
        return {
            "index": np.array([int(r["index"]) for r in table]),
            "path": np.array([r["path"] for r in table]),
            "given": np.array([number[r["given"]] for r in table]),
            "true": None if None in true else np.array(true),
            "clean": np.array([r.get("clean") == "1" for r in table]),
            "outside": np.array([r.get("outside") == "1" for r in table]),
        }

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        """The class names."""
        return tuple(self.settings["classes"])

    def dataset(self) -> data.Dataset:
        """The data set of the run, loaded again (labels as they came, before any synthetic noise)."""
        return self._dataset

    @functools.cached_property
    def _dataset(self) -> data.Dataset:
        s = self.settings
        source = data.load(
            s["dataset_path"],
            image_size=s["image_size"],
            labels=s["labels_file"],
            path_column=s.get("path_column"),
            label_column=s["label_column"]
            if s["labels_file"] or s["dataset_path"].startswith(data.PACKED)
            else None,
            true_column=s["true_column"],
            annotators=s.get("annotators", "majority"),
            like=s["like"] if s["dataset_path"].startswith(data.OWN) and s["like"] else None,
            skip_bad=True,
            split=s.get("split", True),
            recursive=s.get("recursive", False),  # earlier versions looked into class folders only
            max_pixels=s.get("max_pixels"),
            follow_links=s.get("follow_links", False),
            image_column=s.get("image_column"),
            hf_split=s.get("hf_split"),
        )
        if s.get("open_set"):
            source = open_set.opened(source, s["open_set"], s.get("imbalance"), s["seed"]).source
        if source.fingerprint != s["fingerprint"]:
            raise ValueError(
                f"{s['dataset_path']} is not the data of {self.folder} any more: images or labels were "
                "changed since; restore them, or train again"
            )
        return source

    def train_images(self) -> torch.Tensor | Stream:
        """uint8 (N, C, H, W): the training images in the order of every (N, ...) array; of a run on features,
        these, float32 (N, d, 1, 1).
        """
        if names := self.settings.get("features"):
            if kinds.identity(names) != self.settings.get("features_seen", kinds.identity(names)):
                raise ValueError(
                    f"{names} is not what {self.folder} was trained on any more: restore it, or train again"
                )
            return features_for(self.dataset(), names, self.labels["index"], progress=False)[0]
        return pick(self.dataset().x, torch.from_numpy(self.labels["index"]))

    def networks(self, epoch: int | None = None) -> list[models.Classifier]:
        """The tested networks with the weights of the last epoch, or of `epoch` where it was kept."""
        if epoch not in self._networks:
            self._networks[epoch] = self._load_networks(epoch)
        return self._networks[epoch]

    def _load_networks(self, epoch: int | None) -> list[models.Classifier]:
        path = self.folder / "state.pt"
        if not path.exists():
            raise FileNotFoundError(f"{self.folder} has no finished epoch yet: run it first")
        saved = load_state(self.folder)
        weights = [saved["state"][name] for name in saved["tested"]]
        if epoch is not None:
            path = self.folder / "weights" / f"epoch-{epoch:04d}.pt"
            if not path.exists():
                kept = sorted(int(p.stem[6:]) for p in self.folder.glob("weights/*.pt"))
                raise FileNotFoundError(
                    f"no weights of epoch {epoch} in {self.folder}: kept are {kept or 'none'}; "
                    "train with keep=('weights',)"
                )
            try:
                weights = torch_read(path)
            except Damaged as error:
                raise RunError(f"{path} is damaged ({error}): train this run again with --fresh") from None
        nets = []
        for name, values in zip(saved["tested"], weights):
            spec = saved["networks"][name]
            if spec is None:
                raise ValueError(
                    f"the network {name!r} was not made by run.network(): it cannot be built again"
                )
            net = models.make(spec["name"], spec["num_classes"], spec["channels"], pretrained=False)
            net.load_state_dict(values)
            net.spec = spec
            nets.append(net.eval().to(memory_format=torch.channels_last))
        return nets

    def _kind(self) -> type[NoisyData]:
        return FeatureData if self.settings.get("features") else NoisyData

    def predict(self, images: torch.Tensor | Stream, epoch: int | None = None) -> np.ndarray:
        """(n, K) probabilities for uint8 images (n, C, H, W): the mean softmax of the tested networks."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        s = self.settings
        empty = self._kind()(
            images[:1],
            torch.zeros(1, dtype=torch.int64),
            self.classes,
            mean=s["mean"],
            std=s["std"],
            device=device,
        )
        bf16 = choose_precision(s["precision"], device, s["model"], images.shape[-1]) == "bf16"
        nets = [net.to(device) for net in self.networks(epoch)]
        return predict(nets, images, empty, functools.partial(autocast, device, bf16)).numpy()

    @torch.no_grad()
    def features(self, images: torch.Tensor) -> np.ndarray:
        """(n, D) float32: input of the (first) tested network's last layer for uint8 images (n, C, H, W)."""
        s, net = self.settings, self.networks()[0]
        data = self._kind()(
            images, torch.zeros(len(images), dtype=torch.int64), self.classes, mean=s["mean"], std=s["std"]
        )
        return torch.cat([net.cpu().features(x).float() for x, _ in data.in_order()]).numpy()

    def predict_views(
        self, images: torch.Tensor | Stream, view: str, n_views: int, seed: int = 0, epoch: int | None = None
    ) -> np.ndarray:
        """(n_views, n, K) probabilities for augmented images, a new draw of the view for each of n_views."""
        return np.stack([self.predict(v, epoch) for v in self._views(images, view, n_views, seed)])

    def views(self, images: torch.Tensor, view: str, n_views: int, seed: int = 0) -> list[torch.Tensor]:
        """n_views augmented copies of the uint8 images (n, C, H, W), each a new draw of the view."""
        return list(self._views(images, view, n_views, seed))

    def _views(self, images, view, n_views, seed):
        s, images = self.settings, images[:]  # a Stream is decoded
        policy = augment.view(
            view, like=s["like"], size=images.shape[-1], channels=images.shape[1], mean=s["mean"]
        )
        for v in range(n_views):
            yield images if policy is None else policy(images, generator(seed, "views", v))


def is_finished(folder: Path) -> bool:
    """Whether a run folder holds a finished run. A summary or settings that cannot be read (a power cut, a
    full disk) do not count and are removed with a sentence: training goes on from state.pt and writes them
    again. The caller holds the folder's lock.
    """
    for name in ("summary.json", "settings.json"):
        try:
            whole = isinstance(read_json(folder / name), dict)
        except FileNotFoundError:
            return False
        except (OSError, ValueError):
            whole = False
        if not whole:
            print(f"{name} in {folder} is damaged: the run goes on from its last epoch", file=sys.stderr)
            remove(folder / "summary.json")
            return False
    return True


def made_ready(held: Hold, folder: Path, fresh: bool) -> bool:
    """Clear a run's folder where it is to be trained anew; whether it holds a finished run."""
    if fresh:
        held.clear()
    for place in (folder, folder / "weights"):
        remove_leftovers(place)
    return is_finished(folder)


def loaded(folder: Path) -> OpenedRun:
    """A finished run, with a line where another version of the kit made it."""
    run = open_run(folder)
    before = run.settings["versions"]["lnl_kit"]
    if before != __version__:
        print(
            f"loaded a run of lnl_kit {before} (this is {__version__}): --fresh trains it again",
            file=sys.stderr,
        )
    return run


def open_run(folder: str | Path) -> OpenedRun:
    """The run in a folder: `settings`, `summary`, `metrics`, `arrays`, `history`, `predict(images)`."""
    return OpenedRun(folder)


def finished_runs(root: str | Path) -> list[OpenedRun]:
    """Every finished run under a root, in order of its path; findings lie there too, and are none."""
    folders = [p.parent for p in sorted(Path(root).glob("*/*/*/*/summary.json"))]
    return [OpenedRun(folder) for folder in folders if (folder / "settings.json").exists()]
