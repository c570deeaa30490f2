"""What every method comes to on two ranks and on one; each rank runs this file, the first writes the rows.

    torchrun --nproc-per-node 2 tests/ranks_worker.py METHOD,... FOLDER [float64] [train_size=512 ...]

For each method, into FOLDER/rows.jsonl: how far two ranks' loss and accuracies lie from one rank's (`loss`,
`accuracy`, `state`, the largest over the epochs), and how far one rank's do that starts from weights changed
by rounding (`rounding_*`, the control: what the order of a sum may change); `digests`, whether all parts of
the state, tables by image among them, are equal on both ranks after each epoch; `resumed`, whether stopping
after the first epoch and going on ends with the same bits. float64: all of it in double precision, where
rounding does not grow to anything, so that a difference would be of meaning.
"""

import json
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from conftest import SHORT_STAGES, feature_file

import lnl_kit
from lnl_kit.data.batches import NoisyData
from lnl_kit.features.training import FeatureData
from lnl_kit.methods import METHODS
from lnl_kit.run import launch
from lnl_kit.run.loop import Run
from lnl_kit.toolbox import ranks

# of a gradient as one rank computes it: small_cnn's in float32 lie 1e-6 to 7e-6 of the largest from those in
# float64, two ranks' 1e-6 to 5e-6
ROUNDING = {"float32": 1e-6, "float64": 1e-15}
ACCURACIES = ("test_accuracy", "train_accuracy_clean", "train_accuracy_wrong", "memorized")


def in_float64() -> None:
    """From here on the kit computes in double precision, where it would in single."""
    torch.set_default_dtype(torch.float64)
    torch.float32 = torch.float64
    torch.Tensor.float = torch.Tensor.double
    for owner, name in ((NoisyData, "normalise"), (FeatureData, "normalise"), (Run, "network")):
        setattr(owner, name, as_double(getattr(owner, name)))


def as_double(made):
    return lambda *args, **more: made(*args, **more).double()


def from_other_bits(relative: float):
    """Networks that start as `Run.network` makes them, but for rounding."""
    made = Run.network

    def network(self, name=None):
        net, draw = made(self, name), torch.Generator().manual_seed(0)
        with torch.no_grad():
            for p in net.parameters():
                p.mul_(1 + relative * torch.randn(p.shape, generator=draw))
        return net

    return network


class Replaced:
    """Within it an attribute is another."""

    def __init__(self, owner, name, value):
        self.owner, self.name, self.value = owner, name, value

    def __enter__(self):
        self.before = getattr(self.owner, self.name)
        setattr(self.owner, self.name, self.value)

    def __exit__(self, *_):
        setattr(self.owner, self.name, self.before)


def stops_after_first(commit):
    def committed(self, state):
        commit(self, state)
        if "stages" not in self.folder.parts:
            raise KeyboardInterrupt

    return committed


def remembers(digests: list):
    def commit(self, state, commit=Run.commit):
        digests.append(state.digests())
        commit(self, state)

    return commit


def tensors(value, name=""):
    """{path: tensor} of a nest, clocks left out."""
    if isinstance(value, torch.Tensor):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {k: v for key, inner in items for k, v in tensors(inner, f"{name}.{key}").items()}


def kept(run) -> dict:
    saved = torch.load(run.folder / "state.pt", weights_only=True)
    return tensors({name: saved[name] for name in ("state", "arrays", "history")})


def distance(a, b, columns) -> float:
    """The largest difference over epochs and columns."""
    pairs = [(x.get(c), y.get(c)) for x, y in zip(a.metrics, b.metrics, strict=True) for c in columns]
    assert all((x is None) == (y is None) for x, y in pairs)
    return max((abs(x - y) for x, y in pairs if x is not None), default=0.0)


def state_distance(a: dict, b: dict) -> float:
    assert a.keys() == b.keys()
    return max((a[k].double() - b[k].double()).abs().nan_to_num(0).max().item() for k in a if a[k].numel())


def compared(method: str, root: Path, ask: dict, double: bool, control: bool = True) -> dict:
    """The row of a method, the same on both ranks."""
    started, digests = time.perf_counter(), []
    with Replaced(Run, "commit", remembers(digests)):
        both = lnl_kit.train(method, out=root / "ranks", **ask)
    seconds = time.perf_counter() - started
    of_ranks = [None] * ranks.count()
    dist.all_gather_object(of_ranks, digests)
    with Replaced(Run, "commit", stops_after_first(Run.commit)):
        lnl_kit.train(method, out=root / "resumed", **ask)
    ranks.wait()
    resumed = lnl_kit.train(method, out=root / "resumed", **ask)
    a, b = kept(both), kept(resumed)
    exact = a.keys() == b.keys() and all(torch.allclose(a[k], b[k], 0, 0, equal_nan=True) for k in a)
    # one rank, while the other does the control
    mine = dist.get_rank()
    network = from_other_bits(ROUNDING["float64" if double else "float32"]) if mine else Run.network
    if control or mine == 0:
        with ranks.alone(), Replaced(Run, "network", network):
            lnl_kit.train(method, out=root / f"alone-{mine}", **ask)
    ranks.wait()
    with ranks.alone():
        one, rounded = (lnl_kit.train(method, out=root / f"alone-{r * control}", **ask) for r in range(2))
    row = {"method": method, "precision": "float64" if double else "float32", "seconds": round(seconds, 2)}
    for name, other in (("", both), ("rounding_", rounded)):
        row |= {
            f"{name}loss": distance(one, other, ["loss"]),
            f"{name}accuracy": distance(one, other, ACCURACIES),
            f"{name}state": state_distance(kept(one), kept(other)),
        }
    same = all(d == of_ranks[0] for d in of_ranks) and len(digests) >= ask["epochs"]
    return row | {"digests": same, "commits": len(digests), "resumed": exact}


def main(methods: str, place: str, *more: str) -> None:
    double = "float64" in more
    ask = {k: json.loads(v) for k, _, v in (m.partition("=") for m in more if "=" in m)}
    place = Path(place)
    with launch.joined("cpu"):
        if double:
            in_float64()
        for method in METHODS if methods == "all" else methods.split(","):
            asked = {"epochs": 2, "progress": False} | SHORT_STAGES.get(method, {}) | ask
            if METHODS[method][1].needs_features:
                asked["features"] = ranks.told(lambda: feature_file(place))
            try:
                row = compared(method, place / method, asked, double)
            except Exception as error:
                row = {"method": method, "error": repr(error)}
            if ranks.first():
                with open(place / "rows.jsonl", "a") as file:
                    file.write(json.dumps(row) + "\n")
            if "error" in row:
                raise RuntimeError(row)


if __name__ == "__main__":
    main(*sys.argv[1:])
