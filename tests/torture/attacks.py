"""Files that somebody else sends: every reader of the kit, given each weapon in place of what it expects."""

import contextlib
import io
import os
import pickle
import random
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from cases import SENTENCES, photos, picture, place, said_or_right
from kinds import KEPT, make_folders
from processes import forked

import lnl_kit
from lnl_kit import cli, data
from lnl_kit.commands.config import read_config
from lnl_kit.data.noise import transition_matrix
from lnl_kit.features.of_dataset import features_of
from lnl_kit.label_errors.decision_file import Decisions
from lnl_kit.label_errors.findings import open_findings

MEMORY = 2 << 30  # bytes that a case may take beyond what the process has
SECRET = "a secret that lies outside"
TOLD = "given/told"  # where a payload that runs leaves its mark


class Payload:
    """Runs when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


# ---- readers: (where the file lies that is replaced, what reads it)


def _plain(name: str, read: Callable[[Path, Path], object]):
    """A file of the user's: read(root, path)."""

    def of(root: Path) -> tuple[Path, Callable[[], object]]:
        path = root / "given" / name
        return path, lambda: read(root, path)

    return of


def _within(which: str, name: str, read: Callable[[Path, Path], object]):
    """A file of a folder that the kit once made: read(root, folder)."""

    def of(root: Path) -> tuple[Path, Callable[[], object]]:
        folder = root / "given" / which
        shutil.copytree(KEPT[which], folder)
        return folder / name, lambda: read(root, folder)

    return of


def _labels(root: Path, path: Path):
    return data.load(f"folder:{photos(root)}", root=root / "data", labels=str(path), split=False)


def _probs(root: Path, path: Path):
    return lnl_kit.find_errors(photos(root), probs=str(path), to=root / "found", report=False)


def _features(kind: str):
    def read(root: Path, path: Path):
        source = data.load(f"folder:{photos(root)}", root=root / "data", split=False)
        return features_of(source, f"{kind}:{path}", size=16, progress=False).array()

    return read


def _image(root: Path, path: Path):
    folder = photos(root)
    os.rename(path, folder / "cat" / "odd.png")
    return data.load(f"folder:{folder}", root=root / "data", skip_bad=True)


def _set(kind: str):
    return lambda root, path: data.load(f"{kind}:{path}", root=root / "data", split=False)


def _run(root: Path, folder: Path):
    run = lnl_kit.open_run(folder)
    for part in ("settings", "summary", "metrics", "arrays", "history", "labels", "classes"):
        with contextlib.suppress(*SENTENCES):
            getattr(run, part)
    return run.predict(torch.zeros(2, 1, 16, 16, dtype=torch.uint8))


def _found(root: Path, folder: Path):
    found = open_findings(folder)
    _ = found.table, found.classes, found.changed
    return Decisions(folder / "decisions.csv").made


def _command(*words: str):
    """A command of which PATH is the file; what it says counts as it would on a terminal."""

    def read(root: Path, path: Path):
        said = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            try:
                status = cli.main([w.replace("PATH", str(path)).replace("ROOT", str(root)) for w in words])
            except SystemExit as end:
                status = end.code
        assert status in (0, 1, 2) and "Traceback" not in said.getvalue(), said.getvalue()[-1500:]
        assert SECRET not in said.getvalue(), "a secret was read out"

    return read


READERS = {
    **{f"labels.{end}": _plain(f"labels.{end}", _labels) for end in ("csv", "json", "jsonl", "parquet")},
    **{f"probs.{end}": _plain(f"probs.{end}", _probs) for end in ("npz", "npy", "csv", "parquet")},
    "features.npz": _plain("features.npz", _features("npz")),
    "backbone.pt": _plain("backbone.pt", _features("file")),
    "image": _plain("odd.png", _image),
    "matrix.csv": _plain("matrix.csv", lambda root, path: transition_matrix(f"matrix:{path}", None, 3)),
    **{
        f"settings.{end}": _plain(f"settings.{end}", lambda root, path: read_config(path, "nrd"))
        for end in ("yaml", "json", "toml")
    },
    "set.tar": _plain("set.tar", _set("tar")),
    "set.parquet": _plain("set.parquet", _set("parquet")),
    "table of runs": _plain("t.csv", _command("collect", "ROOT/given", "--csv", "PATH")),
    "decisions elsewhere": _within(
        "findings", "tasks.json", _command("import-decisions", "PATH", "PATH/tasks.json")
    ),
    **{
        f"run/{name}": _within("run", name, _run)
        for name in ("state.pt", "arrays.npz", "history.npz", "settings.json", "summary.json", "labels.csv")
    },
    **{
        f"findings/{name}": _within("findings", name, _found)
        for name in ("errors.csv", "summary.json", "decisions.csv", "labels_before.csv")
    },
}


# ---- weapons: what lies there instead


def a_pickle(path: Path, root: Path, draw: random.Random) -> None:
    """In whatever a format may hide it."""
    payload = Payload(root / TOLD)
    if path.suffix == ".npz":
        np.savez(path, **{k: np.array([payload], object) for k in ("probs", "features", "x", "losses")})
    elif path.suffix == ".npy":
        np.save(path, np.array([payload], object))
    elif path.suffix == ".pt":
        torch.save({"state": payload}, path)
    elif path.suffix == ".yaml":
        path.write_text(f"epochs: !!python/object/apply:os.mkdir ['{root / TOLD}']\n")
    else:
        path.write_bytes(pickle.dumps(payload, protocol=draw.choice((0, 2, 5))))


def a_bomb(path: Path, root: Path, draw: random.Random) -> None:
    """A few kB that say that they are 100 GB."""
    if path.suffix in (".npz", ".pt"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            head = io.BytesIO()
            shape = (10**8, 250)
            np.lib.format.write_array_header_1_0(
                head, {"descr": "<f4", "fortran_order": False, "shape": shape}
            )
            for name in ("probs.npy", "features.npy", "data.pkl"):
                with file.open(name, "w") as out:
                    out.write(head.getvalue())
                    out.write(bytes(1 << 24))
    elif path.suffix == ".npy":
        head = {"descr": "<f4", "fortran_order": False, "shape": (10**8, 250)}
        with open(path, "wb") as out:
            np.lib.format.write_array_header_1_0(out, head)
    elif path.suffix == ".png":
        content = bytearray(picture("PNG"))
        content[16:24] = (60_000).to_bytes(4, "big") * 2
        path.write_bytes(bytes(content))
    elif path.suffix in (".json", ".jsonl"):
        path.write_text("[" * 200_000)
    elif path.suffix == ".yaml":
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{k}: &a{k} [{', '.join(9 * [f'*a{k - 1}'])}]" for k in range(1, 12)]
        path.write_text("\n".join(lines))
    else:
        path.write_bytes(b"a," * draw.randrange(1, 1 << 21))


def a_link_to_a_secret(path: Path, root: Path, draw: random.Random) -> None:
    (root / "outside").mkdir(exist_ok=True)
    (root / "outside" / "secret").write_text(SECRET)
    path.symlink_to(root / "outside" / "secret")


def an_endless_file(path: Path, root: Path, draw: random.Random) -> None:
    path.symlink_to("/dev/zero")


def a_huge_file(path: Path, root: Path, draw: random.Random) -> None:
    """A terabyte of nothing."""
    with open(path, "wb") as file:
        file.truncate(1 << 40)


def a_pipe(path: Path, root: Path, draw: random.Random) -> None:
    """That nobody writes to: who opens it waits."""
    os.mkfifo(path)


def a_folder(path: Path, root: Path, draw: random.Random) -> None:
    path.mkdir()


def members_that_lead_out(path: Path, root: Path, draw: random.Random) -> None:
    """As a tar or a zip, whatever its name says."""
    names = [
        "../../told",
        str(root / TOLD),
        "a/../../told",
        "..\\told",
        "C:\\told",
        "a\x00b",
        "x/" * 300 + "a",
    ]
    if draw.random() < 0.5:
        with tarfile.open(path, "w") as file:
            for name in names:
                info = tarfile.TarInfo(name)
                info.type = draw.choice((tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE))
                info.linkname = draw.choice(("/etc/passwd", "../../outside", str(root / "given")))
                with contextlib.suppress(ValueError):
                    file.addfile(info)
    else:
        with zipfile.ZipFile(path, "w") as file:
            for name in names:
                file.writestr(name, "told")


def noise(path: Path, root: Path, draw: random.Random) -> None:
    path.write_bytes(draw.randbytes(draw.choice((0, 1, 16, 4096, 1 << 20))))


WEAPONS = {
    f.__name__.replace("_", " "): f
    for f in (
        a_pickle,
        a_bomb,
        a_link_to_a_secret,
        an_endless_file,
        a_huge_file,
        a_pipe,
        a_folder,
        members_that_lead_out,
        noise,
    )
}


def one(reader: str, weapon: str, seed: int) -> None:
    """AssertionError where the reader does anything but answer."""
    with place() as root:
        path, read = READERS[reader](root)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        WEAPONS[weapon](path, root, random.Random(f"attack {seed}"))
        kind = stat.S_IFMT(path.lstat().st_mode)
        said_or_right(read)
        assert not (root / TOLD).exists() and not list(root.parent.glob("told")), "a payload ran"
        if reader != "image" and not reader.startswith(("run/", "findings/", "table")):
            assert stat.S_IFMT(path.lstat().st_mode) == kind, "what was given is something else now"
        for written in root.rglob("*"):
            if written.is_file() and not written.is_symlink() and "outside" not in written.parts:
                small = written.stat().st_size < 1 << 24
                assert not small or SECRET.encode() not in written.read_bytes(), f"{written.name} tells it"


def cases(first: int) -> Iterator[tuple[str, dict | None, dict]]:
    """Case by case, every pair of reader and weapon in turn."""
    pairs = [(r, w) for w in WEAPONS for r in READERS]
    with tempfile.TemporaryDirectory(prefix="kept-") as folder:
        make_folders(Path(folder))
        while True:
            reader, weapon = pairs[first % len(pairs)]
            ended = forked(partial(one, reader, weapon, first), at_most=60, memory=MEMORY)
            wrong = "" if ended.status == 0 else f"ended with {ended.status}: {ended.said[-1500:]}"
            fault = {"case": first, "reader": reader, "weapon": weapon, "wrong": wrong}
            yield weapon, fault if wrong else None, {}
            first += 1
