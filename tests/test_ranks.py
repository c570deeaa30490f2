"""Training on several ranks: what is divided comes to the same as on one, and nothing else differs."""

import os
import pickle
import signal
import subprocess
import sys
import time
import traceback

import pytest
import torch
import torch.distributed as dist
from conftest import ROOT, SHORT_STAGES, feature_file
from ranks_worker import compared, in_float64

import lnl_kit
from lnl_kit.cli import main
from lnl_kit.data import streams
from lnl_kit.data.batches import NoisyData
from lnl_kit.methods import METHODS
from lnl_kit.run import launch
from lnl_kit.run.probe import without_compiler
from lnl_kit.run.state import State
from lnl_kit.toolbox import models, ranks
from lnl_kit.toolbox.stacked import Stacked

FEW = ("elr", "nrd")  # in the default suite


def on_ranks(fn, place, count=2) -> list:
    """What fn() returns on each of some ranks, copies of this process that speak by gloo."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a pool of threads does not outlive a fork
    streams._pool.cache_clear()
    children = [os.fork() or on_rank(fn, place, rank, count) for rank in range(count)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    torch.set_num_threads(threads)
    found = [(place / f"returned-{rank}").read_bytes() for rank in range(count)]
    results = [pickle.loads(b) for b in found]
    assert codes == [0] * count, "\n".join(map(str, results))
    return results


def on_rank(fn, place, rank, count):
    """One of them; never returns."""
    code, result = 1, None
    try:
        store = dist.FileStore(str(place / "store"), count)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=count)
        with without_compiler("off"):  # as long as importing torch, at an optimiser's first step
            code, result = 0, fn()
    except BaseException:
        result = traceback.format_exc()
    (place / f"returned-{rank}").write_bytes(pickle.dumps(result))
    os._exit(code)


def as_one_rank(fn, *args):
    """What a rank gets that works alone."""
    with ranks.alone():
        return fn(*args)


def gradients(rows: int, stacked: bool = False) -> list[torch.Tensor]:
    """What comes out of a network on so many images, of their and its weights' gradients, its statistics."""
    torch.manual_seed(0)
    network = models.make("small_cnn", 3, 1).double()
    if stacked:
        network = Stacked([network, models.make("small_cnn", 3, 1).double()])
    x = torch.randn(rows, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    out = network(x)
    (out.softmax(-1)[..., 0].sum() * out.square().mean()).backward()
    return [out.detach(), x.grad, *(p.grad for p in network.parameters()), *network.buffers()]


def shown() -> list[torch.Tensor]:
    """The images of an epoch in the order of training, and all in their own, each augmented."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (5000, 1, 4, 4), dtype=torch.uint8, generator=draw)
    data = NoisyData(images, torch.zeros(5000, dtype=torch.long), ("a", "b"), mean=(0,), std=(1,))
    trained = [x for x, *_ in data.batches(3, views="crop")]
    return [torch.cat(trained), torch.cat([x for x, _ in data.in_order("crop")])]


def test_rows_chunks_and_what_one_rank_decides(tmp_path):
    def work():
        found = {}
        for rows, stacked in ((8, False), (7, False), (3, True), (1, False)):
            one, all_ = as_one_rank(gradients, rows, stacked), gradients(rows, stacked)
            found[rows] = max((a - b).abs().max().item() / b.abs().max().item() for a, b in zip(all_, one))
        found["rank"], found["told"] = ranks.rank(), ranks.told(lambda: os.getpid())
        own = ([torch.tensor(i)] for i in range(5)[ranks.rank() :: ranks.count()])
        found["chunks"] = [int(t) for (t,) in ranks.in_turn(own, 5)]
        found["unlike"] = ranks.unlike({"same": 1, "different": ranks.rank()})
        state = State(table=torch.full((2,), float(ranks.rank())))
        state.agree()
        found["table"] = state["table"].tolist()
        found["images"] = [torch.equal(a, b) for a, b in zip(shown(), as_one_rank(shown))]
        return found

    first, second = on_ranks(work, tmp_path)
    assert first["rank"] == 0 and second["rank"] == 1
    for found in (first, second):
        assert max(found[rows] for rows in (8, 7, 3)) < 1e-13 and found[1] == 0
        assert found["told"] == first["told"] and found["chunks"] == [0, 1, 2, 3, 4]
        assert found["unlike"] == ["different"] and found["table"] == [0, 0] and all(found["images"])


def of_method(place, methods, control=True, **ask):
    """The rows of `ranks_worker` of these methods, in double precision."""
    in_float64()
    rows = []
    for method in methods:
        asked = {"epochs": 2, "train_size": 256, "progress": False, "precision": "fp32"}
        asked |= SHORT_STAGES.get(method, {}) | ask
        if METHODS[method][1].needs_features:
            asked["features"] = ranks.told(lambda: feature_file(place))
        rows.append(compared(method, place, asked, True, control))
    return rows


def assert_as_one_rank(rows):
    for row in rows:
        assert row["loss"] < 1e-9 and row["accuracy"] == 0 and row["state"] < 1e-6, row
        assert row["digests"] and row["resumed"], row


def test_a_few_methods_train_as_on_one_rank(tmp_path):
    rows = on_ranks(lambda: of_method(tmp_path, FEW, False, train_size=64, batch_size=32), tmp_path)
    assert len(rows[0]) == len(FEW)
    assert_as_one_rank(rows[0])


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_as_on_one_rank(tmp_path, method):
    assert_as_one_rank(on_ranks(lambda: of_method(tmp_path, [method]), tmp_path)[0])


def test_devices_are_named_each():
    assert launch.devices_of("cpu, cpu") == ["cpu", "cpu"]
    for text, why in (("auto,auto", "name each"), ("cpu,7", "is not here"), ("tpu", "is not here")):
        with pytest.raises(ValueError, match=why):
            launch.devices_of(text)


def test_what_is_not_allowed_is_said_before_anything_starts(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(launch, "start", lambda *_: pytest.fail("was started"))
    ask = ["train", "ce", "--devices", "cpu,cpu", "--out", str(tmp_path)]
    assert main([*ask, "--rate", "2"]) == 2
    assert main([*ask, "--compile", "default"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and all(line.startswith("lnl: ") for line in said) and "compile" in said[1]


def lnl(*arguments, launcher=("lnl_kit.cli",), **more):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *launcher, *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    )


@pytest.mark.slow
def test_devices_on_the_command_line(tmp_path):
    ask = ("train", "elr", "--epochs", 2, "--train-size", 256, "--out", tmp_path)
    child = lnl(*ask, "--devices", "cpu,cpu")
    out, err = child.communicate()
    assert child.returncode == 0, err
    run = lnl_kit.open_run(out.strip())  # one line, the folder
    assert run.summary["ranks"] == 2 and err.count("elr: last") == 1
    child = lnl(*ask, "--devices", "cpu,cpu", "--labels", "missing.csv")
    out, err = child.communicate()
    assert child.returncode != 0 and err.count("missing.csv") == 1 and "Traceback" not in err


@pytest.mark.slow
def test_a_killed_rank_costs_an_epoch(tmp_path):
    """torchrun starts all ranks again, and they go on from the last commit; twice, the second rank killed."""
    ask = ("train", "nrd", "--epochs", 8, "--train-size", 512, "--out")
    torchrun = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "3", "-m")
    alone = lnl(*ask, tmp_path / "alone", launcher=(*torchrun, "lnl_kit.cli"))
    assert alone.wait() == 0
    child, killed = lnl(*ask, tmp_path / "killed", launcher=(*torchrun, "lnl_kit.cli")), set()
    for _ in range(2):
        before = saved(tmp_path / "killed")
        while saved(tmp_path / "killed") == before:
            assert child.poll() is None, child.communicate()[1]
            time.sleep(0.01)
        listed = subprocess.run(["pgrep", "-P", str(child.pid)], capture_output=True, text=True).stdout
        victim = int(max(set(listed.split()) - killed, key=int))  # started last
        killed |= set(listed.split())
        os.kill(victim, signal.SIGKILL)
        while not dead(victim):
            time.sleep(0.01)
    err = child.communicate()[1]
    assert child.returncode == 0, err
    a, b = (lnl_kit.open_run(next((tmp_path / name).glob("*/*/*/*"))) for name in ("alone", "killed"))
    columns = ("loss", "test_accuracy", "train_accuracy_clean", "selection_auc")
    assert [[r[c] for c in columns] for r in a.metrics] == [[r[c] for c in columns] for r in b.metrics]
    states = [torch.load(run.folder / "state.pt", weights_only=True)["state"] for run in (a, b)]
    assert torch.equal(*(s["new_labels"] for s in states))
    assert err.count("exitcode: -9") == 2  # as torchrun says it


def saved(out):
    return max((p.stat().st_mtime_ns for p in out.glob("*/*/*/*/state.pt")), default=0)


def dead(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
