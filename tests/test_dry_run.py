"""--dry-run: what would be trained, where and how long; nothing is written where runs lie."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import SHORT_STAGES, SIMILAR, cpu_seconds, in_turn
from PIL import Image

import lnl_kit
from lnl_kit import cli, forecast
from lnl_kit.data import built_in
from lnl_kit.methods import METHODS
from lnl_kit.run import probe

ASK = {"noise": "pair_flip", "rate": 0.3, "epochs": 3, "train_size": 300}


def small_loss(data, settings, run):
    """A method of one's own."""
    net = run.network()
    optimizer, schedule = run.sgd(net, settings)
    state = run.state(net=net, optimizer=optimizer, schedule=schedule, tested="net")
    for epoch in run.epochs(state, settings.epochs):
        for x, y, _ in data.batches(epoch, views=settings.view):
            optimizer.zero_grad()
            run.total(loss=torch.nn.functional.cross_entropy(net(x), y)).backward()
            optimizer.step()
        schedule.step()


def test_it_says_what_the_training_then_is(tmp_path):
    root = tmp_path / "runs"
    told = lnl_kit.dry_run("nrd", out=root, **ASK)
    assert not root.exists() and told.state == "new" and told.epochs_done == 0
    run = lnl_kit.train("nrd", out=root, progress=False, **ASK)
    assert told.folder == run.folder and told.train_images == run.summary["train_images"] == 300
    assert told.wrong_labels == round(run.summary["actual_rate"] * 300)
    (network,) = run.networks()
    one = ("small_cnn", sum(p.numel() for p in network.parameters()))
    assert told.estimate.networks == (one, one) and "2 x small_cnn" in str(told)  # student and teacher
    assert told.estimate.checkpoint > 2 * 4 * told.estimate.networks[0][1]  # weights and momentum
    assert 1e8 < told.estimate.memory < 1e11 and told.steps == 2
    page = str(told)
    for words in (
        "nrd on digits",
        "300 to train, 360 to test",
        f"{told.wrong_labels} wrong",
        str(run.folder),
        "new",
    ):
        assert words in page


def test_a_finished_and_an_interrupted_run_are_named_and_left_as_they_are(tmp_path):
    def interrupt(rows):
        if len(rows) == 2:
            raise KeyboardInterrupt

    run = lnl_kit.train("ce", out=tmp_path, progress=False, on_epoch=interrupt, **ASK)
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.rglob("*") if p.is_file()}
    told = lnl_kit.dry_run("ce", out=tmp_path, **ASK)
    assert (told.state, told.epochs_done, told.folder) == ("unfinished", 2, run.folder)
    assert "goes on after epoch 2 of 3" in str(told)
    assert told.minutes == pytest.approx(told.estimate.seconds / 3 / 60)
    assert before == {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.rglob("*") if p.is_file()}
    lnl_kit.train("ce", out=tmp_path, progress=False, **ASK)
    told = lnl_kit.dry_run("ce", out=tmp_path, **ASK)
    assert told.state == "finished" and told.minutes == 0 and "finished before" in str(told)
    (run.folder / "summary.json").write_text("{")  # damaged: the training says so, a dry run changes nothing
    assert lnl_kit.dry_run("ce", out=tmp_path, **ASK).state == "unfinished"
    assert (run.folder / "summary.json").read_text() == "{"


@pytest.mark.parametrize("method", in_turn(METHODS, SIMILAR))
def test_every_method_can_be_probed(method, tmp_path):
    settings = METHODS[method][1]
    ask = {"preset": "memorise"} if settings.needs_features else {}
    told = lnl_kit.dry_run(method, out=tmp_path, **ask, **SHORT_STAGES.get(method, {}))
    assert not told.estimate.problem and told.estimate.seconds > 0 and not list(tmp_path.iterdir())
    assert len(told.estimate.networks) >= settings.networks


@pytest.mark.slow
def test_the_minutes_are_about_those_that_it_takes(tmp_path):
    """Within a factor of 3, on a machine that others use too; a stage, a warm-up and its end are counted."""
    for method, more in (("dividemix", {"warmup": 4}), ("forward", {})):
        ask = {"epochs": 12, "train_size": 1000, **more}
        told = lnl_kit.dry_run(method, out=tmp_path, **ask)
        started = time.perf_counter()
        lnl_kit.train(method, out=tmp_path, progress=False, **ask)
        took = time.perf_counter() - started
        assert took / 3 < told.estimate.seconds < took * 3, (method, told.estimate.seconds, took)


def test_costs_grow_with_epochs_and_images():
    few = lnl_kit.dry_run("ce", epochs=10, train_size=256).estimate.seconds
    many = lnl_kit.dry_run("ce", epochs=100, train_size=1280).estimate.seconds
    assert 10 < many / few < 250  # fifty times, measured in a quarter of a second


def test_nothing_of_the_caller_changes():
    import torch._dynamo

    real, threads = sys.modules["torch._dynamo"], torch.get_num_threads()
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    lnl_kit.dry_run(small_loss, epochs=2)
    assert torch.equal(torch.rand(3), expected)
    assert sys.modules["torch._dynamo"] is real and torch.get_num_threads() == threads


WITHOUT_COMPILER = """
import sys, torch, lnl_kit
from lnl_kit.run import probe
assert not lnl_kit.dry_run("ce", epochs=2).estimate.problem
assert "torch._dynamo" not in sys.modules
with probe.without_compiler("off"):
    stand_in = sys.modules["torch._dynamo"]
    assert isinstance(stand_in, probe.NoCompiler)
    assert torch._dynamo.OptimizedModule.__name__ == "OptimizedModule"  # asked for what only the real one has
import torch._dynamo
assert not isinstance(torch._dynamo, probe.NoCompiler)
step = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
step.zero_grad()
assert not any(f is getattr(f, "__dynamo_disable", None) for f in vars(torch.optim.Optimizer).values())
compiled = torch.compile(lambda x: x + 1, backend="eager")
assert compiled(torch.ones(1)).item() == 2
"""


@pytest.mark.slow
def test_the_compiler_is_as_it_was_afterwards():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_COMPILER], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_a_method_that_cannot_run_on_so_few_images_is_told_without_minutes(tmp_path):
    def wants_more(data, settings, run):
        if len(data) < 300:
            raise ValueError("at least 300 images")
        small_loss(data, settings, run)

    told = lnl_kit.dry_run(wants_more, out=tmp_path, **ASK)
    assert (
        told.minutes is None and "ValueError: at least 300 images" in str(told) and told.train_images == 300
    )


def test_no_weights_are_downloaded_and_no_features_computed(tmp_path, monkeypatch):
    from lnl_kit.run import prepared
    from lnl_kit.toolbox import resnets

    def refuse(*_, **__):
        raise AssertionError("asked for")

    monkeypatch.setattr(resnets, "imagenet_weights", refuse)
    monkeypatch.setattr(prepared, "features_for", refuse)
    monkeypatch.setenv("LNL_DATA", str(tmp_path / "data"))
    told = lnl_kit.dry_run("nrd", preset="memorise", feature_views=2)
    assert not told.estimate.problem and told.estimate.networks[0][0] == "mlp_head"
    assert "efficientnet_lite0 sees" in str(told) and not (tmp_path / "data").exists()
    colour = tmp_path / "photos"
    for k in "ab":
        (colour / "train" / k).mkdir(parents=True)
        for i in range(6):
            pixels = np.random.RandomState(i).randint(0, 255, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(colour / "train" / k / f"{i}.png")
    told = lnl_kit.dry_run(
        "ce", dataset=colour, noise="none", model="resnet18_imagenet", batch_size=4, epochs=1
    )
    assert not told.estimate.problem and told.estimate.networks[0][0] == "resnet18_imagenet"


def test_bad_input_is_refused_as_by_train():
    with pytest.raises(ValueError, match="rate 1"):
        lnl_kit.dry_run("ce", rate=1.2)
    with pytest.raises(ValueError, match="no setting named epocs"):
        lnl_kit.dry_run("ce", epocs=3)


COMMAND = "train nrd --dry-run --rate 0.8 --out".split()


def test_the_command_writes_nothing(tmp_path):
    assert cli.main([*COMMAND, str(tmp_path / "runs")]) == 0 and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_command_is_quick(tmp_path):
    """Little more than importing torch, which takes two of the three seconds that it may take."""
    command = ["-m", "lnl_kit.cli", *COMMAND, "runs"]
    assert cpu_seconds(*command, cwd=tmp_path) < max(3, 1.5 * cpu_seconds("-c", "import torch") + 1)
    assert not list(tmp_path.iterdir())


def test_compare_adds_up_its_cells(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = "compare ce,elr --noise symmetric:0.4 --epochs 2 --train-size 256 --csv here/rows.csv".split()
    assert cli.main(["compare", "ce", *args[2:], "--out", "runs"]) == 0
    capsys.readouterr()
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(forecast, "probe", counted := Counted(probe.probe))
    grid = [*args, "--seeds", "0,1", "--jobs", "2", "--out", "runs", "--dry-run"]
    assert cli.main(grid) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert (
        "4 cells, 1 of them in here/rows.csv" in err
        and len(lines) == 3 + 1
        and lines[-1].startswith("3 cells")
    )
    assert "2 side by side" in lines[-1] and all("new" in line for line in lines[:-1])
    assert sorted(tmp_path.rglob("*")) == before
    assert counted.calls == 2  # one a method: the seed does not change what it costs


class Counted:
    """Counts the calls of a function."""

    def __init__(self, function):
        self.function, self.calls = function, 0

    def __call__(self, *args, **more):
        self.calls += 1
        return self.function(*args, **more)


# ---------------------------------------------------------------- what makes it quick


def test_digits_are_those_of_scikit_learn(monkeypatch):
    from sklearn.datasets import load_digits

    bunch = load_digits()
    rows = np.column_stack([bunch.data, bunch.target])
    assert np.array_equal(built_in._digits_table(), rows)
    monkeypatch.setattr(built_in.importlib.util, "find_spec", lambda name: None)  # its file has moved
    assert np.array_equal(built_in._digits_table(), rows)


def test_reading_digits_imports_no_scikit_learn():
    script = (
        "import sys, lnl_kit.data as d; d.load('digits'); print(*({'sklearn', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_forecast_is_plain_enough_for_json():
    told = lnl_kit.dry_run("ce", epochs=1)
    assert json.loads(json.dumps(told.__dict__, default=str))["method"] == "ce"
