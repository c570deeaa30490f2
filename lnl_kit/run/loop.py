"""The training run: epochs, checkpoints, resume, logging, evaluation.

A run folder has one commit point, `state.pt` (temporary file, fsync, rename, fsync of the folder). It holds
the state after the last finished epoch and every metric row so far; the other files are rewritten from it.
Killing the process at any moment costs at most the current epoch, and a resumed run ends with the same
numbers. A `state.pt` that the disk has damaged (the file has checksums) is said, and the run starts anew. Of
several ranks (`toolbox.ranks`) the first alone reads and writes the folder.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..data.batches import NoisyData
from ..files import Hold, RunError, save_atomically
from ..toolbox import losses, models, ranks
from ..toolbox.rng import seed_of
from .autocast import autocast
from .device import choose_precision, keep_freed_memory
from .evaluate import HISTORY_NUMBERS, LOGGED, Evaluator, history_epochs
from .fit import sgd
from .history import remember, remember_margins
from .progress import epochs_bar
from .stages import computed_once, place_of
from .state import State, require_space, torch_bytes
from .tables import HISTORY, arrays_bytes, history_bytes, last_commit, metrics_bytes, packed_labels
from .terms import mean_loss


class Run:
    """One training run of a method, in one folder. Methods receive it as their third argument."""

    pretrained = True  # `*_imagenet` starts from ImageNet's weights; a probe of its speed does not fetch them

    def __init__(
        self,
        folder: Path,
        *,
        data: NoisyData,
        evaluator: Evaluator,
        model: str,
        seed: int,
        precision: str = "auto",
        compile: str = "off",
        keep: tuple[str, ...] = (),
        progress: bool = True,
        root: Path | None = None,
        name: str = "",
        images: str = "",
        on_epoch=None,
        held: Hold | None = None,
    ):
        self.folder, self.root, self.name = Path(folder), Path(root or folder), name or Path(folder).name
        self.data, self.evaluator, self.model, self.seed = data, evaluator, model, seed
        self.held = held or Hold()  # the folder, against other processes
        self.on_epoch = on_epoch  # called with the rows of the metrics after each epoch
        self.images = images  # identifies the training and test images, whatever their labels
        self.device, self.compile, self.keep, self.progress = data.device, compile, keep, progress
        if self.device.type == "cpu":
            keep_freed_memory()
        self.precision = choose_precision(precision, self.device, model, data.x.shape[-1])
        self.rows: list[dict] = []
        self.arrays: dict[str, Tensor] = {}
        self.history: dict[str, list] = {name: [] for name in ("epochs", *HISTORY)}
        self._terms: dict[str, list[Tensor]] = {}
        self._log: dict = {}
        self._networks, self.saving_seconds, self.stage_seconds = 0, 0.0, 0.0
        self._compiled: dict[int, Any] = {}  # keeps its network alive, so that an id is not given twice
        self.inference_seconds: float | None = None

    # ---- what methods call -------------------------------------------------------------------------------

    def network(self, name: str | None = None) -> models.Classifier:
        """A new network (by default the run's) with seeded weights, on the device, in channels_last memory.

        Each call gives other weights; copy a network to start two from the same.
        """
        torch.manual_seed(seed_of(self.seed, "network", self._networks))
        self._networks += 1
        spec: dict[str, Any] = {
            "name": name or self.model,
            "num_classes": self.data.num_classes,
            "channels": self.data.x.shape[1],
        }
        net = models.make(spec["name"], spec["num_classes"], spec["channels"], pretrained=self.pretrained)
        net.spec = spec  # saved with the weights, so that a finished run can predict without its method
        return net.to(self.device).to(memory_format=torch.channels_last)

    def sgd(self, network: nn.Module, settings, *more: nn.Module):
        """(SGD, schedule) by the recipe in `settings`; call `schedule.step()` once per epoch.

        more: other modules trained by the same optimiser, each a parameter group of its own.
        """
        return sgd([network, *more], settings, self.device)

    def autocast(self):
        """Context of the run's precision. Losses are computed outside it, in float32."""
        return autocast(self.device, self.precision == "bf16")

    def compiled(self, network: nn.Module):
        """The network, compiled where the run asks for it. Keep the raw one in the state."""
        if self.compile == "off":
            return network
        if id(network) not in self._compiled:  # asked for again in every epoch by `fit_epoch`
            self._compiled[id(network)] = torch.compile(network, mode=self.compile)
        return self._compiled[id(network)]

    def state(self, *, tested, also_tested=(), **parts) -> State:
        """Name what decides the run's future (networks, optimisers, schedules, per-image tensors).

        tested: the network that is evaluated, or a tuple of names whose softmaxes are averaged;
        also_tested: names that get columns `<name>_test_accuracy`, `<name>_train_accuracy_clean` and so on,
            at the history's epochs.
        """
        state = State(parts)
        state.tested = (tested,) if isinstance(tested, str) else tuple(tested)
        state.also_tested = (also_tested,) if isinstance(also_tested, str) else tuple(also_tested)
        for name in (*state.tested, *state.also_tested):
            if not isinstance(state.get(name), nn.Module):
                raise ValueError(
                    f"tested={name!r} is not a network in the state: {', '.join(parts)} are there"
                )
        return state

    @property
    def test_images(self) -> Tensor:
        """uint8 (M, C, H, W): the test images, without labels, for what a method says of unseen images."""
        return self.evaluator.test_x

    def total(self, **terms: Tensor) -> Tensor:
        """The sum of the loss terms (0-d tensors). They are kept on the device and read once per epoch:
        their mean becomes the column `loss`, and a value that is not finite ends the run."""
        loss = losses.added(terms.values())
        for name, value in terms.items():
            self._terms.setdefault(name, []).append(value.detach())
        return loss

    def log(self, **values) -> None:
        """Tell what the method can tell at the end of an epoch; all optional.

        clean_score (N,), larger = cleaner; outside_score (N,), larger = of no class; selected (N,) bool;
        new_labels (N,) or (N, K); train_probs (N, K);
        transition (K, K), row = true class, with transition_of="all" or "corrupted" (transition_all is kept
        in arrays.npz and not measured); accepted (N,) and test_accepted (M,): a class or -1, and the votes
        for it; teacher_probs (N, K) and test_teacher_probs; fitted_probs (N, K) beside held-out train_probs;
        any other number or 0-d tensor becomes a column.
        """
        self._log.update(values)

    def epochs(self, state: State, total: int):
        """Yield the epochs still to do, evaluate and commit after each. Restores the last finished one."""
        self._restore(state)
        kept = min(len(self.data) * self.data.num_classes, HISTORY_NUMBERS)
        # arrays; 20 snapshots and the margins of every epoch, in two files
        margins = 8 * total * len(self.data) if "margins" in self.keep else 0
        if ranks.first():
            more = 24 * len(self.data) * self.data.num_classes + 80 * kept + margins
            require_space(self.folder, state, more)
        with contextlib.closing(epochs_bar(self.name, total, state.done, self.progress)) as bar:
            for epoch in range(state.done, total):
                self.begin(state, epoch)
                rate = next(
                    (p.param_groups[0]["lr"] for p in state.values() if isinstance(p, torch.optim.Optimizer)),
                    None,
                )
                started = time.perf_counter()
                yield epoch
                row: dict[str, Any] = {
                    "epoch": epoch + 1,
                    "learning_rate": rate,
                    "loss": mean_loss(self._terms, epoch, self.folder),
                }
                row["epoch_seconds"] = time.perf_counter() - started
                row["images_per_second"] = len(self.data) / row["epoch_seconds"]
                self.evaluate(state, row, epoch, total)
                state.done = epoch + 1
                self.rows.append(row)
                self.commit(state)
                bar.update()
                bar.set_postfix(test=f"{row['test_accuracy']:.3f}")
                if self.on_epoch and ranks.first():
                    with ranks.alone():
                        self.on_epoch(self.rows)

    def begin(self, state: State, epoch: int) -> None:
        """Start an epoch: its random numbers, empty logs, networks in training mode."""
        torch.manual_seed(seed_of(self.seed, "epoch", epoch))
        self._terms, self._log = {}, {}
        for net in state.networks():
            net.train()

    def stage(self, name: str, fn: Callable[[Run], Any], depends: dict | None = None) -> Any:
        """The result of `fn(stage_run)`, computed once: finished it is loaded, interrupted it resumes.

        fn trains with the stage's own `data`, `network`, `state`, `epochs` and returns tensors (or a nest of
        them).
        depends: what the result depends on beside network, precision, images and the file that fn stands in;
            runs that agree on all these and on the stage's name share it. Without it the stage belongs to
            this run alone. What it cost when it was computed (the last attempt at it) is added to
            `stage_seconds`.
        """
        folder, seed = place_of(self, name, fn, depends)
        result, seconds = computed_once(
            folder, lambda held: fn(self._child(folder, seed, name, held)), self.device, self.held
        )
        self.stage_seconds += seconds
        return result

    def _child(self, folder: Path, seed: int, name: str, held: Hold | None = None) -> Run:
        """The run of a stage: the same images, its own seed."""
        data = copy.copy(self.data)
        data.seed = seed
        return Run(
            folder,
            data=data,
            evaluator=self.evaluator,
            model=self.model,
            seed=seed,
            precision=self.precision,
            compile=self.compile,
            progress=self.progress,
            root=self.root,
            name=name,
            images=self.images,
            held=held,
        )

    # ---- the loop's own work -----------------------------------------------------------------------------

    def evaluate(self, state: State, row: dict, epoch: int, total: int) -> None:
        """Measure the tested networks and what the method has logged; the columns go into `row`."""
        started = time.perf_counter()
        tested = [state[name] for name in state.tested]
        log = {k: v.detach().cpu().numpy() if isinstance(v, Tensor) else v for k, v in self._log.items()}
        test_row, test_probs = self.evaluator.test(tested, self.autocast)
        self.inference_seconds = time.perf_counter() - started
        row.update(test_row)
        if not np.isfinite(test_probs).all():
            good = f"the last good checkpoint is epoch {epoch}" if epoch else "no epoch was finished before"
            raise RunError(
                f"epoch {epoch + 1}: the network's predictions are not finite after the last batch; this "
                f"epoch was not saved, {good} ({self.folder}). Try a lower learning rate"
            )
        snapshot, probs = epoch in history_epochs(total), cast(Any, log.get("train_probs"))
        if snapshot:  # these passes are not spent every epoch
            for name in state.also_tested:
                row[f"{name}_test_accuracy"] = self.evaluator.test([state[name]], self.autocast)[0][
                    "test_accuracy"
                ]
                seen = self.evaluator.of_training(self.evaluator.train_probs([state[name]], self.autocast))
                row.update({f"{name}_{column}": value for column, value in seen.items()})
        if probs is None and (snapshot or "margins" in self.keep):
            probs = self.evaluator.train_probs(tested, self.autocast)
        if "margins" in self.keep:
            row.update(remember_margins(self, row, probs, snapshot))
        if snapshot:
            row.update(self.evaluator.of_training(probs))
            remember(self, epoch, probs, log.get("clean_score"), tested)
        self.arrays["test_probs"] = torch.from_numpy(test_probs)
        for name, value in log.items():
            if name in LOGGED:
                if name not in ("train_probs", "transition_of"):
                    self.arrays[name] = torch.as_tensor(value)
            elif np.ndim(value) == 0:
                row[name] = float(value)
            else:
                raise ValueError(
                    f"run.log({name}=...) has shape {np.shape(value)}: arrays may be "
                    f"{', '.join(LOGGED)}; anything else is a single number"
                )
        row.update(self.evaluator.of_log(log))
        if "features" in self.keep and epoch == total - 1:
            self.arrays["features"] = self._features(tested[0])
        row["evaluation_seconds"] = time.perf_counter() - started

    @torch.no_grad()
    def _features(self, net: models.Classifier) -> Tensor:
        net.eval()
        with self.autocast():
            return torch.cat([net.features(x).float().cpu() for x, _ in self.data.in_order()])

    @functools.cached_property
    def _labels(self) -> Tensor:
        return packed_labels(self.folder)

    def commit(self, state: State) -> None:
        """Write state.pt, the one commit point, and the tables made from it."""
        state.agree()
        if not ranks.first():
            return
        started = time.perf_counter()
        specs = {name: getattr(state[name], "spec", None) for name in state.tested}
        content = {
            "done": state.done,
            "rows": self.rows,
            "tested": list(state.tested),
            "networks": specs,
            "state": state.snapshot(),
            "arrays": self.arrays,
            "history": self.history,
            "history_index": torch.from_numpy(np.asarray(self.evaluator.history_index)),
            "labels": self._labels,
            "inference_seconds": self.inference_seconds,
            "saving_seconds": self.saving_seconds,
        }
        snapshot = bool(self.history["epochs"]) and self.history["epochs"][-1] == state.done
        with self.held.commit():
            save_atomically(self.folder / "state.pt", torch_bytes(content), durable=True)
            self.write_tables(history=snapshot)
        self.saving_seconds += time.perf_counter() - started

    def _restore(self, state: State) -> None:
        saved = ranks.told(lambda: last_commit(self.folder))
        if saved is None:
            return
        state.restore(saved["state"])
        state.done = saved["done"]
        self.adopt(saved)
        if ranks.first():
            self.write_tables()

    def adopt(self, saved: dict) -> None:
        """Take over rows, arrays and history from a loaded `state.pt`."""
        self.rows, self.arrays, self.history = saved["rows"], saved["arrays"], saved["history"]
        self.inference_seconds, self.saving_seconds = saved["inference_seconds"], saved["saving_seconds"]

    def write_tables(self, history: bool = True) -> None:
        """Rewrite metrics.csv, arrays.npz and, unless unchanged, history.npz from what state.pt holds."""
        save_atomically(self.folder / "metrics.csv", metrics_bytes(self.rows))
        save_atomically(self.folder / "arrays.npz", arrays_bytes(self.arrays))
        if history:
            content = history_bytes(self.history, self.evaluator.history_index)
            save_atomically(self.folder / "history.npz", content)
