"""lnl doctor: what is here, what is missing, the command that gets it; quick, and without secrets."""

import json
import sys
import tomllib

import pytest
from conftest import ROOT, cpu_seconds

from lnl_kit import cli, files
from lnl_kit.data.naming import NAMES
from lnl_kit.doctor import examine as doctor
from lnl_kit.doctor.text import abilities

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SECRETS = {
    "HF_TOKEN": "hf_sEcReT",
    "WANDB_API_KEY": "sEcReT1",
    "AWS_SECRET_ACCESS_KEY": "sEcReT2",
    "LNL_PASSWORD": "sEcReT3",
    "HTTPS_PROXY": "http://me:sEcReT4@proxy",
    "PIP_INDEX_URL": "https://me:sEcReT5@index/simple",
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder of a user's, who has secrets in the environment."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LNL_RUNS", str(tmp_path / "mine" / "runs"))
    monkeypatch.setenv("LNL_DATA", str(tmp_path / "mine" / "data"))
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def test_everything_is_told_and_nothing_that_is_secret(home, capsys):
    assert cli.main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert cli.main(["doctor"]) == 0
    page = capsys.readouterr().out
    for told in (json.dumps(found), page):
        assert "sEcReT" not in told and str(home) not in told and "~/mine/runs" in told
    assert set(found["packages"]) == {doctor.Needed.of(line).name for line in PROJECT["dependencies"]}
    assert set(found["extras"]) == set(PROJECT["optional-dependencies"]) - {"all", "dev", "test"}
    assert found["notebooks"]["number"] == len([*ROOT.glob("notebooks/*.ipynb")])
    assert found["devices"][0]["name"] == "cpu" and found["threads"]["torch"] >= 1
    assert found["needed"] == [] and page.endswith("all that is needed is here\n")
    assert found["environment"]["LNL_DATA"] == "~/mine/data" and not (home / "mine").exists()
    for entry in found["optional"]:
        assert entry["get"] and entry["what"] in page


def test_bf16_is_what_training_takes_for_it(monkeypatch):
    from lnl_kit.run import device

    for there in (True, False):
        monkeypatch.setattr(device, "supports_bf16", lambda _, there=there: there)
        cpu = doctor._devices([])[0]
        assert cpu["bf16_in_hardware"] is there and ("bf16_times_as_fast" in cpu) is there
        assert ("; bfloat16 in hardware" in abilities(cpu)) is there


def test_data_and_folders_are_counted(home):
    data = home / "mine" / "data"
    (data / "cifar-10-batches-py").mkdir(parents=True)
    (data / "cifar-10-batches-py" / "one").write_bytes(bytes(2_000_000))
    (data / "cache").symlink_to(home)  # not followed
    found = doctor.examine()
    assert found["data"]["cifar10"] and found["data"]["digits"] and not found["data"]["cifar100"]
    assert found["folders"]["data"]["mb"] == 2.0 and found["folders"]["data"]["files"] == 2
    lacking = {entry["what"] for entry in found["optional"]}
    assert "cifar100" in lacking and "cifar10" not in lacking
    named = {name for name in NAMES if ":" not in name}
    assert named <= set(found["data"])


def test_what_is_needed_and_missing_has_a_command_and_ends_with_status_1(home, monkeypatch, capsys):
    versions = {"torchvision": None, "numpy": "1.26.4"}
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: versions.get(name, real(name)))
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor, "ROOM", 1e18)
    (home / "mine").write_text("a file where the folder should be")
    assert cli.main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    needed = {entry["what"]: entry["get"] for entry in found["needed"]}
    assert needed["numpy>=2,<3, here is 1.26.4"] == "pip install 'numpy>=2,<3'"
    assert needed["torchvision>=0.24,<1"] == "pip install 'torchvision>=0.24,<1'"
    assert any(what.startswith("a folder for runs") for what in needed)
    assert any(what.startswith("disk space for runs") for what in needed)
    assert "a browser that draws figures" in {entry["what"] for entry in found["optional"]}


def test_a_torch_that_cannot_be_imported_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    needed: list = []
    assert doctor._devices(needed) == [] and "a torch that can be imported" in needed[0]["what"]


@pytest.mark.parametrize(
    "line, name, inside, outside",
    [
        ("torch>=2.9,<3", "torch", ["2.9", "2.14.1+cu130", "2.9.0"], ["2.8.1", "3.0.0"]),
        ("filelock>=3.20.3,<5", "filelock", ["3.20.3", "4.1"], ["3.20.2", "5.0"]),
        ("cleanlab[datalab]", "cleanlab", ["1"], []),
        ('open_clip_torch>=2.29; extra == "clip"', "open_clip_torch", ["3"], ["2.28.9"]),
    ],
)
def test_bounds_of_versions(line, name, inside, outside):
    needed = doctor.Needed.of(line)
    assert needed.name == name
    assert all(map(needed.allows, inside)) and not any(map(needed.allows, outside))


def test_the_bounds_in_use_are_those_that_are_understood():
    lines = [line for some in doctor.requirements().values() for line in some]
    assert all(
        part[0] in "<>" and "~" not in part for r in lines for part in filter(None, r.bounds.split(","))
    )
    oldest = ".".join(map(str, doctor.OLDEST))
    assert PROJECT["requires-python"] == f">={oldest}"


def test_an_installed_kit_asks_its_own_metadata(monkeypatch):
    lines = ["torch<3,>=2.9", 'pillow-heif; extra == "heic"', "numpy>=2"]
    monkeypatch.setattr(doctor, "installed", lambda: True)
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: lines)
    found = doctor.requirements()
    assert [r.name for r in found[""]] == ["torch", "numpy"] and [r.name for r in found["heic"]] == [
        "pillow-heif"
    ]


@pytest.mark.slow
def test_it_takes_little_more_than_importing_torch():
    assert cpu_seconds("-m", "lnl_kit.cli", "doctor") < max(3, 1.2 * cpu_seconds("-c", "import torch") + 0.5)


def test_the_folders_are_where_the_kit_writes(home):
    found = doctor.examine()["folders"]
    for name, place in (("runs", files.runs_root()), ("data", files.data_root())):
        assert found[name]["at"] == doctor._short(place)
