"""One way to write and one to read: no link followed, nothing foreseeable, limits; and no other way."""

import ast
import os
import re
import stat
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lnl_kit
from lnl_kit import files
from lnl_kit.features import of_dataset
from lnl_kit.files import RunError, append, csv_bytes, flag, lock, make_folder, save_atomically
from lnl_kit.files.write import TEMPORARY
from lnl_kit.label_errors import evidence

PACKAGE = Path(lnl_kit.__file__).parent


# ---------------------------------------------------------------- the only way

ANY = "write_text write_bytes to_csv to_json to_parquet to_pickle to_excel to_feather to_hdf savefig savetxt"
ANY += (
    " savez savez_compressed tofile memmap open_memmap write_image write_images write_html touch symlink_to"
)
ANY += " hardlink_to link_to unlink rmdir rmtree rename renames mkstemp mktemp NamedTemporaryFile truncate"
ANY += " ftruncate urlretrieve download_url copyfile copyfileobj copytree copy2 move extract extractall save"
ANY += " unpack_archive make_archive write_table execute_notebook FileHandler chmod sendfile"
OF = {  # what writes, of modules whose other functions do not
    "os": "open write writev pwrite replace remove unlink rename link symlink truncate mkfifo mknod chmod",
    "shutil": "copy",
    "json": "dump",
    "pickle": "dump",
    "joblib": "dump",
    "yaml": "dump safe_dump",
    "nbformat": "write",
    "sqlite3": "connect",
    "shelve": "open",
}
OPENING = {"open": 1, "fdopen": 1, "ZipFile": 1, "TarFile": 1, "GzipFile": 1, "BZ2File": 1, "LZMAFile": 1}
MODE = re.compile(r"[rwaxbtU+]{1,4}([:|](gz|bz2|xz|\*)?)?")
ALLOWED = {  # why each is no file of the kit's own that a link could misdirect
    ("figures/style.py", "write_images"): "into a new temporary folder, whose files are then saved",
    ("figures/views.py", "save"): "into memory",
    ("label_errors/pictures.py", "save"): "into memory",
    ("run/state.py", "save"): "into memory",
    ("exports/formats.py", "save"): "into memory",
    ("data/packed.py", "rename"): "the unpacked images into their place",
    ("exports/findings.py", "save"): "into memory",
    ("exports/hugging_face.py", "write_table"): "into memory",
    ("data/images.py", "os.open"): "read only",
    ("cli.py", "os.open"): "the null device",
    ("run/launch.py", "open for writing"): "the null device",
    ("reproduce/engine.py", "save"): "into a temporary folder, whose notebook is then saved",
    ("board/page.py", "rename"): "of rows",
    ("site/pictures.py", "save"): "into memory",
    ("site/build.py", "yaml.safe_dump"): "into memory",
    ("site/build.py", "copytree"): "the kit's pages into the site's own folder, which is marked as such",
    ("site/build.py", "copyfile"): "into that folder",
    ("site/build.py", "rmtree"): "of that folder",
    ("site/build.py", "unlink"): "of that folder",
    ("teaching/learner.py", "fdopen for writing"): "its own standard output",
    ("teaching/learner.py", "os.open"): "the null device",
    ("teaching/limits.py", "os.open"): "read only",
    ("teaching/process.py", "copytree"): "runs of the kit's own, into a temporary folder and from it",
    ("data/large_sets.py", "extractall"): "zip members, into a folder made under a lock",
    ("data/large_sets.py", "rename"): "the unpacked folder into its place",
    ("data/decode.py", "rename"): "the decoded images into their place",
    ("label_errors/findings.py", "rename"): "the staged search",
    ("label_errors/findings.py", "replace"): "its files into their places, under a lock",
    ("label_errors/findings.py", "unlink"): "a report of an older search",
    ("features/store.py", "memmap"): "read only",
    ("features/of_dataset.py", "extract"): "the kit's own function, no archive's",
    ("bench/label_errors.py", "save"): "made-up images for development's own measurements",
    ("bench/label_error_heads.py", "save"): "the same",
    ("label_errors/by_probs.py", "rename"): "columns of a table",
    ("results/rows.py", "rename"): "a folder of rows that wait, taken for gathering under the table's lock",
    ("results/collect.py", "sqlite3.connect"): "the index, which is looked at for links before",
    ("reproduce/batch.py", "unlink"): "pictures of figures that are no longer made",
    ("reproduce/execute.py", "execute_notebook"): "into a new temporary folder, whose file is then saved",
    ("reproduce/execute.py", "unlink"): "the record of the copy that is replaced",
}
BENCH = {  # development's own measurements, in a folder that is theirs alone
    "bench/gpu_process.py": "a journal that only grows",
    "bench/gpu_session.py": "a log that only grows",
    "bench/gpu_profile.py": "a trace",
    "bench/gpu_jobs.py": "a copy of the checkout, and made-up images",
    "bench/streaming.py": "a made set of images, in a folder that is told",
    "bench/passes.py": "pixels as features, in a temporary folder",
}


def writes_in(source: str) -> list[tuple[int, str]]:
    """(line, what) of every call in a module that may write, remove or rename a file."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module in OF:
            found += [
                (node.lineno, f"{node.module}.{a.name}") for a in node.names if _writes(node.module, a.name)
            ]
        if not isinstance(node, ast.Call):
            continue
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        owner = getattr(getattr(node.func, "value", None), "id", "")
        if owner in OF and called in OF[owner].split():
            found.append((node.lineno, f"{owner}.{called}"))
        elif called in ANY.split() or (called == "replace" and len(node.args) == 1 and not node.keywords):
            found.append((node.lineno, called))
        elif called in OPENING:
            said = [a for a in node.args[:2] if isinstance(a, ast.Constant)]
            said += [k.value for k in node.keywords if k.arg == "mode"]
            modes = [a.value for a in said if isinstance(getattr(a, "value", None), str)]
            if any(MODE.fullmatch(m) and set(m) & set("wax+") for m in modes):
                found.append((node.lineno, f"{called} for writing"))
            if any(k.arg == "mode" and not isinstance(k.value, ast.Constant) for k in node.keywords):
                found.append((node.lineno, f"{called} in a mode that cannot be told"))
    return found


def _writes(module: str, name: str) -> bool:
    return name in OF[module].split() or name in ANY.split()


def test_nothing_in_the_kit_writes_but_through_the_one_way():
    found, used = [], set()
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if name.startswith("files/") or name in BENCH:
            continue
        for line, what in writes_in(path.read_text()):
            used.add((name, what))
            if (name, what) not in ALLOWED:
                found.append(f"{name}:{line} {what}")
    assert not found, "write through lnl_kit.files instead: " + "; ".join(found)
    assert ALLOWED.keys() <= used, ("no longer needed", ALLOWED.keys() - used)


@pytest.mark.parametrize(
    "text",
    """open(p, "w")|open(p, mode="ab")|p.open("w")|p.open("r+")|Path(p).open(mode="x")|io.open(p, "wb")
    os.open(p, os.O_WRONLY)|os.fdopen(f, "w")|p.write_text("x")|p.write_bytes(b"")|table.to_csv(p)
    np.save(p, x)|np.savez(p, x=x)|np.savetxt(p, x)|x.tofile(p)|np.lib.format.open_memmap(p, "w+")
    torch.save(x, p)|json.dump(x, f)|pickle.dump(x, f)|yaml.dump(x, f)|nbformat.write(n, p)|image.save(p)
    shutil.copy(a, b)|shutil.copyfileobj(a, b)|shutil.move(a, b)|os.replace(a, b)|a.replace(b)|a.rename(b)
    zipfile.ZipFile(p, "w")|ZipFile(p, mode="a")|tarfile.open(p, "w:gz")|gzip.open(p, "wt")|p.touch()
    tempfile.NamedTemporaryFile()|urllib.request.urlretrieve(u, p)|os.symlink(a, b)|p.unlink()
    from shutil import copy|from os import replace|fig.write_html(p)|plt.savefig(p)""".replace(
        "\n", "|"
    ).split("|"),
)
def test_every_way_to_write_is_found(text):
    assert len(writes_in(text.strip())) == 1


@pytest.mark.parametrize(
    "text",
    """open(p)|open(p, "rb")|p.open()|archive.open(member)|zipfile.ZipFile(p)|tarfile.open(p)|json.dumps(x)
    x.replace("a", "b")|replace(plan, seed=1)|x.copy()|file.write(b"")|open("wax.csv")""".replace(
        "\n", "|"
    ).split("|"),
)
def test_what_only_reads_is_not(text):
    assert writes_in(text.strip()) == []


def test_an_image_is_opened_in_one_place():
    for path in sorted(PACKAGE.rglob("*.py")):
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        found = [n.lineno for n in calls if ast.unparse(n.func) in ("Image.open", "PIL.Image.open")]
        name = path.relative_to(PACKAGE).as_posix()
        assert not found or name in ("data/images.py", "site/pictures.py"), (path, found)  # a PNG it made


# ---------------------------------------------------------------- writing


def test_no_write_follows_a_link(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    os.symlink(victim, tmp_path / "state.pt")
    with pytest.raises(RunError, match="a link or no ordinary file"):
        save_atomically(tmp_path / "state.pt", b"new")
    with pytest.raises(OSError):
        append(tmp_path / "state.pt", b"row\n", 8)
    os.symlink(tmp_path / "absent", tmp_path / "dangling")
    with pytest.raises(OSError):
        append(tmp_path / "dangling", b"row\n", 0)
    os.symlink(victim, tmp_path / ".lock")
    with pytest.raises(RunError, match="cannot lock"), lock(tmp_path):
        pass
    assert victim.read_bytes() == b"precious" and not (tmp_path / "absent").exists()


def test_a_run_folder_that_is_a_link_is_refused_and_its_target_stays(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    (tmp_path / "runs").mkdir()
    os.symlink(tmp_path / "mine", tmp_path / "runs" / "ce")
    with pytest.raises(RunError, match="is a link, which is not followed"):
        make_folder(tmp_path / "runs" / "ce" / "digits", tmp_path / "runs")
    os.symlink(tmp_path / "runs", tmp_path / "big-disk")  # the root itself may be one: it is the user's
    make_folder(tmp_path / "big-disk" / "elr", tmp_path / "big-disk")
    files.clear(tmp_path / "runs")
    assert (tmp_path / "mine" / "thesis.txt").exists() and not (tmp_path / "runs" / "ce").exists()


def test_the_mode_of_a_file_is_kept(tmp_path):
    path = tmp_path / "decisions.csv"
    path.write_bytes(b"old")
    path.chmod(0o600)
    save_atomically(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = os.umask(0o027)
    try:
        save_atomically(tmp_path / "fresh", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o640


def test_threads_do_not_share_a_temporary_name(tmp_path):
    problems = []

    def write(k):
        for _ in range(50):
            try:
                save_atomically(tmp_path / "shared", bytes([k]) * 1000)
            except Exception as error:
                problems.append(error)

    threads = [threading.Thread(target=write, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems and len(set((tmp_path / "shared").read_bytes())) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["shared"]


def test_only_what_the_kit_left_is_cleaned_up(tmp_path):
    for name in (
        ".notes.md",
        ".a.swp",
        ".lnl-x.tmp",
        ".lnl-0123456789abcdef.tmp.bak",
        "lnl-0123456789abcdef.tmp",
    ):
        (tmp_path / name).write_text("mine")
    (tmp_path / ".lnl-0123456789abcdef.tmp").write_text("left by a killed process")
    before = {p.name for p in tmp_path.iterdir()}
    files.remove_leftovers(tmp_path)
    assert before - {p.name for p in tmp_path.iterdir()} == {".lnl-0123456789abcdef.tmp"}
    assert TEMPORARY.fullmatch(".lnl-0123456789abcdef.tmp")


def test_a_failing_sync_keeps_what_others_have_written(tmp_path, monkeypatch):
    path = tmp_path / "rows"
    append(path, b"one\n", 0)
    with pytest.raises(BlockingIOError, match="changed elsewhere"):
        append(path, b"two\n", 0)  # its size is known wrongly
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(OSError, match="Input/output"):
        append(path, b"three\n", 4)
    assert path.read_bytes() == b"one\n"


def test_a_file_system_without_locks_is_one_sentence(tmp_path, monkeypatch):
    import filelock

    def refuse(*_, **__):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with (
        pytest.raises(RunError, match=r"cannot lock .*Operation not supported; choose a folder"),
        lock(tmp_path),
    ):
        pass


# ---------------------------------------------------------------- reading


def test_formulas_do_not_run_and_come_back_as_they_were(tmp_path):
    texts = [
        "=1+1",
        "+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "'=1",
        "''=1",
        "'plain'",
        "-1",
        "+1.5e3",
        "-inf",
        "=",
        "-",
        "",
        "a=b",
        "＝1",
    ]
    path = tmp_path / "t.csv"
    path.write_bytes(csv_bytes([{"a": t, "b": "x"} for t in texts], ("a", "b")))
    assert [row[0] for row in files.read_csv(path)[1:]] == texts
    import csv

    for cell in (row[0] for row in csv.reader(path.read_text("utf-8").splitlines())):
        assert not cell[:1] or cell[0] not in "=+-@\t＝" or files.contents.NUMBER.fullmatch(cell), cell
    assert csv_bytes([{"a": -0.5, "b": -1}], ("a", "b")) == b"a,b\n-0.5,-1\n"  # numbers stay numbers


@pytest.mark.parametrize("text", ["1", "1.0", "true", "TRUE", " yes ", "y", "x"])
def test_yes_is_read_as_people_write_it(text):
    assert flag(text) is True


def test_no_and_nonsense():
    assert [flag(t) for t in ("", "0", "0.0", "False", "no", None)] == [False] * 6
    assert flag("perhaps") is None and flag("2") is None


def test_reading_has_limits_and_waits_for_no_pipe(tmp_path):
    (tmp_path / "large").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="more than"):
        files.read_file(tmp_path / "large", 99)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="no ordinary file"):
        files.read_file(tmp_path / "pipe")


def test_arrays_are_numbers_of_the_size_they_have(tmp_path):
    good = {"a": np.arange(6).reshape(2, 3), "b": np.ones(2, np.float16)}
    (tmp_path / "good.npz").write_bytes(files.npz_bytes(good))
    read = files.read_npz(tmp_path / "good.npz")
    assert all(np.array_equal(read[k], v) for k, v in good.items())
    with pytest.raises(ValueError, match="take more than"):
        files.read_npz(tmp_path / "good.npz", 10)
    np.savez(tmp_path / "object.npz", a=np.array([print], dtype=object))
    with pytest.raises(ValueError, match="Python objects"):
        files.read_npz(tmp_path / "object.npz")
    header = files.npy_bytes(np.zeros(3)).replace(b"(3,)", b"(3000000000,)")[:128] + b"\0" * 24
    with zipfile.ZipFile(tmp_path / "liar.npz", "w") as archive:
        archive.writestr("a.npy", header.replace(b"          \n", b"\n", 1) if len(header) > 152 else header)
    with pytest.raises(ValueError, match="damaged or no file of arrays"):
        files.read_npz(tmp_path / "liar.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "good.npz").read_bytes()[:-40])
    (tmp_path / "empty.npz").write_bytes(b"")
    for name in ("cut", "empty"):
        with pytest.raises(ValueError, match="damaged"):
            files.read_npz(tmp_path / f"{name}.npz")


@pytest.mark.parametrize("kind", ["npz", "npy", "csv", "parquet"])
def test_tables_of_ones_own_are_read_with_limits(tmp_path, monkeypatch, kind):
    """Probabilities and features as others made them: no more than memory holds, and no pickles."""
    path, probs = tmp_path / f"p.{kind}", np.full((500, 2), 0.5)
    table = pd.DataFrame(probs, columns=["cat", "dog"])
    write = {
        "npz": lambda: np.savez_compressed(path, probs=probs, features=probs),
        "npy": lambda: np.save(path, probs),
        "csv": lambda: table.to_csv(path, index=False),
        "parquet": lambda: table.to_parquet(path),
    }
    write[kind]()
    assert np.array_equal(evidence.table_of(path, ["cat", "dog"]), probs)
    if kind == "npy":  # a header that speaks of more than there is
        path.write_bytes(path.read_bytes().replace(b"(500, 2)", b"(9999999999, 2)", 1))
    for module in (evidence, of_dataset):
        monkeypatch.setattr(module, "free_memory", lambda: 100)
    with pytest.raises(ValueError, match="cannot be read as probabilities"):
        evidence.table_of(path, ["cat", "dog"])
    if kind == "npz":
        with pytest.raises(ValueError, match="arrays take more than"):
            of_dataset.own(None, path, None, False)
    if kind in ("npz", "npy"):
        array = np.array([[print, print]], dtype=object)
        np.savez(path, probs=array) if kind == "npz" else np.save(path, array)
        with pytest.raises(ValueError, match="cannot be read as probabilities"):
            evidence.table_of(path, ["cat", "dog"])


# ---------------------------------------------------------------- beyond Linux

BLOCKED = """
import importlib, os, pkgutil, sys, types
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name in ("fcntl", "resource", "pwd", "grp"):
            raise ImportError(f"{name} is not on this system")
for name in ("fcntl", "resource", "pwd", "grp"):
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Blocked())
del os.sysconf
import lnl_kit
names = [m.name for m in pkgutil.walk_packages(lnl_kit.__path__, "lnl_kit.")]
assert len(names) > 60, names
for name in names:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        assert error.name == "griffe", error  # of the extra that makes the site
assert not {"fcntl", "resource", "pwd", "grp"} & set(sys.modules), "blocked, and yet imported"
from lnl_kit.files.machine import free_memory
assert free_memory() > 0
print("imported", len(names))
"""


def test_every_module_is_imported_without_what_only_unix_has(tmp_path):
    own = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}  # else torch asks `pwd` for the user's name
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, env=own)
    assert done.returncode == 0 and done.stdout.startswith("imported"), done.stderr[-2000:]
