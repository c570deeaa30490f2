"""The wheel: built here, installed where no clone is, and used from an empty folder."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from test_jupyterlab import errors_saved, run_all

from lnl_kit.commands import lab as labs
from lnl_kit.commands.lab import in_sentences, notebooks

PARTS = ("lnl_kit", "notebooks", "data/published", "data/measured")
FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "data/README.md")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy of the sources, without the network."""
    pytest.importorskip("setuptools")
    source = tmp_path_factory.mktemp("source")
    for part in PARTS:
        shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for file in FILES:
        shutil.copy(ROOT / file, source / file)
    build = [
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        str(source / "dist"),
        ".",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *build], cwd=source, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """A virtual environment with the wheel, which sees the packages of this one but not its lnl-kit."""
    place = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    python = place / "bin" / "python"
    install = ["install", "-q", "--no-deps", "--no-index", str(wheel)]
    alone = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}  # a checkout on it counts as installed
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *install], check=True, env=alone)
    (site,) = place.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place


@pytest.fixture
def run(environment, tmp_path):
    """Runs a command of that environment in an empty folder; nothing in the package may change meanwhile."""
    (tmp_path / "empty").mkdir()
    (package,) = environment.glob("lib/python*/site-packages/lnl_kit")

    def stamps() -> dict:
        return {p: p.stat().st_mtime_ns for p in package.rglob("*") if "__pycache__" not in p.parts}

    def call(*command, **more) -> subprocess.CompletedProcess:
        kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "LNL_RUNS", "LNL_DATA")}
        done = subprocess.run(
            [environment / "bin" / command[0], *map(str, command[1:])],
            cwd=tmp_path / "empty",
            env=kept | {"JUPYTERLAB_DIR": f"{sys.prefix}/share/jupyter/lab"} | more,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stderr
        return done

    before = stamps()
    yield call
    assert stamps() == before


def test_the_wheel_brings_notebooks_numbers_and_two_names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        for pattern in ("notebooks/*.ipynb", "data/published/*.csv", "data/measured/*.*", "data/README.md"):
            files = [f for f in ROOT.glob(pattern) if f.name[0] != "."]
            assert files
            for file in files:
                kept = f"lnl_kit/shipped/{file.relative_to(ROOT).as_posix()}"
                assert archive.read(kept) == file.read_bytes()
        scripts = archive.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
    assert "lnl = lnl_kit.cli:main" in scripts and "lnl-kit = lnl_kit.cli:main" in scripts
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "lnl_kit").rglob("*.py")}
    assert modules <= names and {"lnl_kit/py.typed", "lnl_kit/label_errors/review.js"} <= names
    assert not [n for n in names if n.startswith(("tests", "notebooks", "data")) or "/." in n]


def test_all_means_every_extra_that_a_user_can_use():
    extras = PROJECT["optional-dependencies"]
    (everything,) = extras["all"]
    assert set(everything.removeprefix("lnl-kit[").rstrip("]").split(",")) == set(extras) - {
        "all",
        "dev",
        "docs",
        "test",
    }


def test_a_run_from_an_empty_folder(run, tmp_path):
    done = run("lnl-kit", "train", "ce", "--epochs", "1", "--train-size", "256", "--rate", "0.4")
    folder = Path(done.stdout.strip())
    assert folder.is_relative_to(tmp_path / "empty" / "runs")
    assert json.loads((folder / "summary.json").read_text())["epochs"] == 1


NUMBERS = """
import json, lnl_kit
from lnl_kit.files import installed
from lnl_kit.papers import published
from lnl_kit.results import gpu, measured
row = measured.read("digits")[0] | {"seed": 99, "asked": "{}"}
before = len(measured.read("digits"))
measured.add("digits", row)
again = measured.read("digits")
rows = len(published.results()), len(gpu.read()), before, len(again)
print(json.dumps([installed(), *rows, again[-1]["commit"]]))
"""


def test_numbers_come_with_it_and_new_ones_are_kept_with_the_user(run, tmp_path):
    told = json.loads(run("python", "-c", NUMBERS).stdout)
    timed = len((ROOT / "data/measured/gpu.jsonl").read_text().splitlines())
    assert told[0] and told[1] > 1000 and told[2] == timed
    assert told[4] == told[3] + 1 > 100 and told[5] == PROJECT["version"]
    assert (tmp_path / "empty" / "data" / "measured" / "digits.csv").exists()


@pytest.mark.slow
def test_label_errors_of_a_folder_are_found(run, tmp_path):
    rng = np.random.RandomState(0)
    for k, name in enumerate(("dark", "light")):
        (tmp_path / "empty" / "photos" / name).mkdir(parents=True)
        for i in range(12):
            shade = 40 + 150 * (k if i else 1 - k)  # the first of each lies in the other's folder
            pixels = np.clip(rng.normal(shade, 10, (40, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "empty" / "photos" / name / f"{i}.png")
    done = run("lnl", "find-errors", "photos")
    rows = (Path(done.stdout.strip()) / "errors.csv").read_text().splitlines()
    assert {re.search(r"(dark|light)/\d+\.png", row)[0] for row in rows[1:3]} == {"dark/0.png", "light/0.png"}


@pytest.mark.slow
def test_a_notebook_is_reproduced_from_the_wheel(run, tmp_path):
    done = run("lnl", "reproduce", "00", "-p", "epochs=1")
    index = Path(done.stdout.strip())
    assert index == tmp_path / "empty" / "runs" / "reproduce" / "index.html"
    record = json.loads((index.parent / "00_start_here.json").read_text())
    assert record["status"] == "finished" and list(
        (tmp_path / "empty" / "runs" / "nrd").rglob("summary.json")
    )
    assert "finished before" in run("lnl", "reproduce", "00", "-p", "epochs=1").stderr


def test_lab_copies_the_notebooks_from_the_wheel(run, tmp_path):
    place = Path(run("lnl", "lab", "--copy-only").stdout.strip())
    assert place == tmp_path / "empty" / "lnl-notebooks"
    assert {p.name for p in place.glob("*.ipynb")} == {p.name for p in ROOT.glob("notebooks/*.ipynb")}


@pytest.fixture
def served(environment, tmp_path):
    """(process, port, token) of `lnl lab mine` in tmp_path, of a user whose configuration opens it to all."""
    config = tmp_path / "config" / "jupyter_server_config.py"
    config.parent.mkdir()
    config.write_text(
        "c.ServerApp.ip = '0.0.0.0'\nc.IdentityProvider.token = ''\nc.ServerApp.password = ''\n"
    )
    hidden = ("PYTHONPATH", "LNL_RUNS", "LNL_DATA", "LNL_HEADLESS")
    kept = {k: v for k, v in os.environ.items() if k not in hidden}
    share = f"{sys.prefix}/share/jupyter"  # JupyterLab's pages, and what draws figures and widgets in them
    more = {"JUPYTERLAB_DIR": f"{share}/lab", "JUPYTER_PATH": share, "JUPYTER_CONFIG_DIR": str(config.parent)}
    log = tmp_path / "log"
    with open(log, "w") as file:
        server = subprocess.Popen(
            [environment / "bin" / "lnl", "lab", "mine", "--no-browser", "--allow-root", "--port", "0"],
            cwd=tmp_path,
            env=kept | more,
            stdout=file,
            stderr=file,
        )
    try:
        end = time.monotonic() + 60
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/lab\?token=([\w-]+)", log.read_text())):
            assert server.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield server, int(found[1]), found[2]
    finally:
        server.terminate()
        server.wait(timeout=30)


@pytest.mark.slow
def test_lab_listens_on_loopback_and_wants_a_token(served):
    """Even where the user's own configuration asks for the opposite."""
    server, port, token = served
    address = f"http://127.0.0.1:{port}/api/contents"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(address, timeout=10)
    with urllib.request.urlopen(f"{address}?token={token}", timeout=10) as answer:
        names = {entry["name"] for entry in json.load(answer)["content"]}
    assert "00_start_here.ipynb" in names and len(token) >= 32
    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    assert f"0100007F:{port:04X}" in listening and f"00000000:{port:04X}" not in listening
    assert token not in Path(f"/proc/{server.pid}/cmdline").read_text()


@pytest.mark.slow
@pytest.mark.browser
def test_the_first_notebook_runs_in_the_lab_of_the_wheel(served, browser, tmp_path, environment):
    _, port, token = served
    path = tmp_path / "mine" / "00_start_here.ipynb"
    notebook = nbformat.read(path, 4)
    first = next(c for c in notebook.cells if c.cell_type == "code")
    first.source = re.sub(r"^epochs = 0 ", "epochs = 1 ", first.source, flags=re.M)
    last = "open('end', 'w').write(lnl_kit.__file__)"
    notebook.cells.append(nbformat.v4.new_code_cell(last))
    nbformat.write(notebook, path)
    page = run_all(browser, f"http://127.0.0.1:{port}", path.name, token)
    end = time.monotonic() + 600
    while not (path.parent / "end").exists():
        page.wait_for_timeout(3000)
        assert time.monotonic() < end and not errors_saved(page, path)
    page.wait_for_timeout(2000)
    assert not errors_saved(page, path) and page.locator(".js-plotly-plot").count() >= 1 and not page.problems
    assert list(
        (tmp_path / "runs" / "nrd").rglob("summary.json")
    )  # where `lnl train` in that folder has them


# ---------------------------------------------------------------- what lab copies, and what it leaves


def bring(folder):
    """The kit's notebooks, brought to a folder."""
    return labs.bring(folder, notebooks())


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A kit with two notebooks."""
    place = tmp_path / "kit"
    place.mkdir()
    for name in "ab":
        (place / f"{name}.ipynb").write_text(f"{name}1")
    monkeypatch.setattr(labs, "shipped", lambda what: place)
    return place


def test_a_notebook_that_was_changed_is_never_written_over(own, tmp_path):
    folder = tmp_path / "mine"
    assert bring(folder).copied == ["a.ipynb", "b.ipynb"] and bring(folder).same == ["a.ipynb", "b.ipynb"]
    (folder / "a.ipynb").write_text("my work")
    brought = bring(folder)
    assert brought.kept == ["a.ipynb"] and not brought.outdated and brought.same == ["b.ipynb"]
    for name in "ab":
        (own / f"{name}.ipynb").write_text(f"{name}2")  # a newer kit
    brought = bring(folder)
    assert brought.kept == brought.outdated == ["a.ipynb"] and brought.renewed == ["b.ipynb"]
    assert (folder / "a.ipynb").read_text() == "my work" and (folder / "b.ipynb").read_text() == "b2"
    said = in_sentences(brought, folder)
    assert "1 renewed" in said and "yours, and left as they are: a.ipynb" in said and "rename yours" in said
    (folder / "a.ipynb").rename(folder / "my.ipynb")
    assert bring(folder).copied == ["a.ipynb"] and (folder / "my.ipynb").read_text() == "my work"


@pytest.mark.parametrize("record", ["", "[]", '{"notebooks": 1}', '{"notebooks": {"a.ipynb": 1}}'])
def test_without_a_record_that_can_be_read_what_is_there_counts_as_changed(own, tmp_path, record):
    folder = tmp_path / "mine"
    bring(folder)
    (own / "a.ipynb").write_text("a2")
    (folder / labs.RECORD).write_text(record)
    brought = bring(folder)
    assert brought.kept == ["a.ipynb"] and (folder / "a.ipynb").read_text() == "a1"


def test_a_kit_without_notebooks_says_where_they_are_missing(own, tmp_path):
    for file in own.iterdir():
        file.unlink()
    with pytest.raises(FileNotFoundError, match="install the kit from its wheel"):
        bring(tmp_path / "mine")
