"""lnl doctor: what is here, what is missing, the command that gets it; quick, and without secrets."""

import json
import subprocess
import sys
import tomllib

import pytest
import torch
from conftest import ROOT, cpu_seconds

from lnl_kit import cli, files
from lnl_kit.data.naming import NAMES
from lnl_kit.doctor import devices
from lnl_kit.doctor import examine as doctor
from lnl_kit.doctor.text import abilities
from lnl_kit.files import machine
from lnl_kit.run import device

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
    for there in (True, False):
        monkeypatch.setattr(device, "supports_bf16", lambda _, there=there: there)
        cpu = devices.of_torch([])[0]
        assert cpu["model"] == devices.without_torch([])[0]["model"]
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


@pytest.mark.parametrize("asked", [devices.of_torch, devices.without_torch])
def test_a_torch_that_cannot_be_imported_is_named(monkeypatch, asked):
    monkeypatch.setitem(sys.modules, "torch", None)
    needed: list = []
    assert asked(needed) == [] and "a torch that can be imported" in needed[0]["what"]


def test_a_torch_whose_libraries_do_not_load_is_named(tmp_path, monkeypatch):
    (tmp_path / "torch" / "lib").mkdir(parents=True)
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('libcudart.so.13: cannot open')")
    (tmp_path / "torch" / "lib" / "libtorch_python.so").write_bytes(b"no library")
    asked = "from lnl_kit.doctor.devices import torch_problem; print(torch_problem())"
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == "ImportError: libcudart.so.13: cannot open\n"


def test_what_the_system_says_of_the_processor_is_what_torch_says():
    cpu = torch.device("cpu")
    assert machine.bf16_in_cpu() in (None, device.supports_bf16(cpu))
    assert device.device_name(cpu).startswith(machine.cpu_name())


def test_gpus_are_asked_of_nvidia_smi(tmp_path, monkeypatch):
    """Two GPUs of a machine that this one is made to look like."""
    program = tmp_path / "nvidia-smi"
    lines = (
        'echo "$@" > asked',
        "echo 'NVIDIA H100 80GB HBM3, 81079, 81559, 9.0'",
        "echo 'Tesla T4, 1, 2, 7.5'",
    )
    program.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(devices, "built_for_cuda", lambda: True)
    one, two = devices.gpus_without_torch()
    assert one == {
        "name": "cuda:0",
        "model": "NVIDIA H100 80GB HBM3",
        "free_gb": 79.2,
        "total_gb": 79.6,
        "bf16_in_hardware": True,
    }
    assert not two["bf16_in_hardware"]
    monkeypatch.setattr(devices, "built_for_cuda", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert "built without CUDA" in devices.gpus_without_torch()[0]["model"]
    assert "--id=1,0" in (tmp_path / "asked").read_text()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert devices.gpus_without_torch() == []
    program.write_text("#!/bin/sh\necho no devices were found; exit 6\n")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert devices.gpus_without_torch() == []


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


def test_it_takes_less_than_importing_torch():
    asked = "import sys; from lnl_kit.cli import main; main(['doctor']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", asked], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_it_takes_less_than_three_seconds():
    assert cpu_seconds("-m", "lnl_kit.cli", "doctor") < 3


def test_the_folders_are_where_the_kit_writes(home):
    found = doctor.examine()["folders"]
    for name, place in (("runs", files.runs_root()), ("data", files.data_root())):
        assert found[name]["at"] == doctor._short(place)
