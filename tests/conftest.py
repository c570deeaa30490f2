"""What all tests share: run folders of their own, the real images, and a browser where there is one."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# One of several processes: one thread each, also in what it starts. OpenMP reads this when torch is imported;
# later it is too late, and workers with two threads each on two cores slow one another tenfold.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

import torch

ROOT = Path(__file__).parent.parent


def pytest_addoption(parser):
    parser.addoption(
        "--precision",
        choices=("auto", "bf16", "fp32"),
        default="fp32",
        help="what `--precision auto` of the kit means in the tests: fp32, so that they are the same on "
        "every CPU; bf16 runs everywhere too, slowly where the hardware lacks it; auto: as users have it",
    )


def pytest_configure(config):
    if (precision := config.getoption("--precision")) != "auto":
        os.environ["LNL_PRECISION"] = precision  # also in the processes that tests start


# Settings that keep a method's stages short, where a test trains every method for a few epochs.
SHORT_STAGES = {
    "pu_distill": {
        "clean_share": 0.5,
        "iterations": 1,
        "filters": 2,
        "votes": 1,
        "sure": 0.3,
        "filter_epochs": 3,
        "filter_batch_size": 8,
        "teachers": 2,
        "teacher_epochs": 2,
    },
    "cores_star": {"sieve_epochs": 4, "wait": 1, "ramp": 2, "sieve_from": 2},
    "dual_t": {"estimate_epochs": 3},
    "t_revision": {"estimate_epochs": 3},
}
# Losses that share the loop of `ce`: where a test runs every method, these are left to `make test-slow`.
LOSSES = {"mae", "bootstrap_soft", "bootstrap_hard", "label_smoothing", "sce", "imae", "gce", "nce_rce", "js"}
# Those that share most of their loop with another one.
SIMILAR = LOSSES | {
    "co_teaching_plus",
    "jocor",
    "t_revision",
    "pes_semi",
    "early_cutting",
    "cores_star",
    "dual_t",
    "pes",
}


def in_turn(methods, slow):
    """These methods as parameters of a test, those of `slow` marked so."""
    return [pytest.param(m, marks=pytest.mark.slow) if m in slow else m for m in methods]


def pytest_runtest_setup(item):
    """Tests marked `cuda` need a GPU: `python -m pytest -m cuda` runs them."""
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")


@pytest.fixture(scope="session", autouse=True)
def own_runs(tmp_path_factory):
    """No test reads or writes the user's runs/."""
    before = os.environ.get("LNL_RUNS")
    os.environ["LNL_RUNS"] = str(tmp_path_factory.mktemp("runs"))
    yield
    os.environ.pop("LNL_RUNS")
    if before is not None:
        os.environ["LNL_RUNS"] = before


@pytest.fixture(scope="session")
def cifar10_jpeg() -> Path:
    """The folder with the real CIFAR-10 images as JPEG: $LNL_CIFAR10_JPEG, else data/cifar10-jpeg."""
    folder = Path(os.environ.get("LNL_CIFAR10_JPEG") or ROOT / "data" / "cifar10-jpeg")
    if not (folder / "train").is_dir():
        pytest.skip(f"no images in {folder}: data/README.md says how to place them")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Chrome or Chromium."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"):
        if shutil.which(name):
            return shutil.which(name)
    pytest.skip("no Chrome or Chromium on the PATH")


@pytest.fixture
def browser(chromium):
    """A headless browser (playwright) that never uses the network by itself."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        running = p.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield running
        running.close()


@pytest.fixture(scope="module")
def server():
    """(the address of a server that sees what a page fetches, what was asked of it)."""
    from hostile import serving

    with serving() as found:
        yield found


def cpu_seconds(*arguments: str, tries: int = 2, **more) -> float:
    """What a run of this Python costs a CPU, the least of some tries: others at work on it count little."""
    took = []
    for _ in range(tries):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, **more)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return min(took)


def feature_file(folder, width=6):
    """The name of an .npz of features of digits that tell the classes, with test features."""
    from lnl_kit import data

    source, rng = data.load("digits"), np.random.RandomState(0)
    axes = rng.randn(10, width)
    labels = {"features": source.true_labels, "test_features": source.test_y}
    np.savez(
        folder / "digits.npz", **{k: axes[y] + 0.3 * rng.randn(len(y), width) for k, y in labels.items()}
    )
    return f"npz:{folder / 'digits.npz'}"
