"""Kinds of input, each with how examples of it are made, and what must hold for one."""

import contextlib
import csv
import dataclasses
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from cases import EDITS, NESTED, PLAIN, SENTENCES, edited, photos, picture, place, said_or_right
from hypothesis import strategies as st
from PIL import Image
from tasks import settle

import lnl_kit
from lnl_kit import cli, data
from lnl_kit.commands.config import read_config
from lnl_kit.data.noise import transition_matrix
from lnl_kit.features.of_dataset import features_of
from lnl_kit.label_errors.decision_file import Decisions
from lnl_kit.label_errors.decisions import apply
from lnl_kit.label_errors.findings import open_findings
from lnl_kit.methods import METHODS
from lnl_kit.reproduce.values import values_of
from lnl_kit.settings import make
from lnl_kit.train import Plan

KINDS: dict[str, tuple[st.SearchStrategy, Callable]] = {}


def kind(name: str, **strategies):
    """A kind of input: a check of one example."""

    def add(check):
        KINDS[name] = (st.fixed_dictionaries(strategies), check)
        return check

    return add


FORMATS = {
    "PNG": "png",
    "JPEG": "jpg",
    "GIF": "gif",
    "BMP": "bmp",
    "WEBP": "webp",
    "TIFF": "tiff",
    "PPM": "ppm",
}
FORMATS |= {"AVIF": "avif"} if "AVIF" in Image.registered_extensions().values() else {}


@kind(
    "images",
    form=st.sampled_from(sorted(FORMATS)),
    ending=st.sampled_from([*FORMATS.values(), "jpeg", "heic", "PNG"]),
    same=st.booleans(),
    edits=EDITS,
    raw=st.one_of(st.none(), st.none(), st.binary(max_size=200)),
    skip=st.booleans(),
)
def _images(form, ending, same, edits, raw, skip):
    with place() as root:
        folder = photos(root)
        content = raw if raw is not None else edited(picture(form), edits)
        (folder / "cat" / f"odd.{FORMATS[form] if same else ending}").write_bytes(content)
        said_or_right(
            lambda: data.load(f"folder:{folder}", root=root / "data", skip_bad=skip), root / "given"
        )


CELLS = st.one_of(
    st.sampled_from(
        ["cat/0.png", "dog/1.png", "cat", "dog", "path", "label", "true", "given", "0", "1", "dropped"]
    ),
    PLAIN.map(str),
)


@kind(
    "label tables, cells",
    rows=st.lists(st.lists(CELLS, max_size=5), max_size=9),
    header=st.sampled_from([[], ["path", "label"], ["path", "given", "true"], ["index", "label"], ["file"]]),
    sign=st.sampled_from([",", ";", "\t", "|"]),
    ending=st.sampled_from(["csv", "tsv", "txt"]),
    code=st.sampled_from(["utf-8", "utf-16", "latin-1", "utf-8-sig"]),
    edits=st.one_of(st.none(), EDITS),
)
def _cells(rows, header, sign, ending, code, edits):
    with place() as root:
        folder, file = photos(root), io.StringIO()
        csv.writer(file, delimiter=sign).writerows([header, *rows] if header else rows)
        content = file.getvalue().encode(code, errors="replace")
        _with_labels(root, folder, content if edits is None else edited(content, edits), ending)


@kind(
    "label tables, JSON",
    value=NESTED,
    ending=st.sampled_from(["json", "jsonl"]),
    edits=st.one_of(st.none(), EDITS),
)
def _json(value, ending, edits):
    with place() as root:
        content = json.dumps(value).encode()
        _with_labels(root, photos(root), content if edits is None else edited(content, edits), ending)


@kind(
    "label tables, records",
    records=st.lists(
        st.dictionaries(
            st.sampled_from(["path", "file_name", "label", "true", "image", "images", "annotations", "data"]),
            st.one_of(CELLS, NESTED),
            max_size=4,
        ),
        max_size=6,
    ),
    lines=st.booleans(),
)
def _records(records, lines):
    with place() as root:
        text = "\n".join(map(json.dumps, records)) if lines else json.dumps(records)
        _with_labels(root, photos(root), text.encode(), "jsonl" if lines else "json")


@kind(
    "label tables, bytes",
    content=st.binary(max_size=300),
    ending=st.sampled_from(["csv", "json", "jsonl", "parquet"]),
)
def _bytes(content, ending):
    with place() as root:
        _with_labels(root, photos(root), content, ending)


def _with_labels(root: Path, folder: Path, content: bytes, ending: str) -> None:
    table = root / "given" / f"labels.{ending}"
    table.write_bytes(content)
    said_or_right(
        lambda: data.load(f"folder:{folder}", root=root / "data", labels=str(table), split=False),
        root / "given",
    )


@kind("matrices", rows=st.lists(st.lists(CELLS, max_size=4), max_size=4), edits=st.one_of(st.none(), EDITS))
def _matrix(rows, edits):
    with place() as root:
        content = "\n".join(",".join(row) for row in rows).encode()
        path = root / "given" / "t.csv"
        path.write_bytes(content if edits is None else edited(content, edits))
        said_or_right(lambda: transition_matrix(f"matrix:{path}", None, 3), root / "given")


FIELDS = [(m, f.name) for m, (_, s) in METHODS.items() for f in dataclasses.fields(s)]


@kind("settings", field=st.sampled_from(FIELDS), value=st.one_of(PLAIN, NESTED, st.tuples(PLAIN, PLAIN)))
def _settings(field, value):
    with place() as root:
        said_or_right(lambda: make(METHODS[field[0]][1], **{field[1]: value}), root / "given")


ASKED = (
    "rate",
    "seed",
    "epochs",
    "noise",
    "dataset",
    "preset",
    "model",
    "train_size",
    "noisy_val",
    "clean_share",
    "view",
)


@kind(
    "what is asked of training",
    asked=st.dictionaries(st.sampled_from(ASKED), PLAIN, min_size=1, max_size=3),
    method=st.one_of(st.sampled_from(sorted(METHODS)), PLAIN),
)
def _asked(asked, method):

    with place() as root:
        said_or_right(lambda: Plan.of(method, **asked).resolve(), root / "given")


@kind(
    "settings in files",
    value=NESTED,
    ending=st.sampled_from(["yaml", "json", "toml"]),
    edits=EDITS,
    raw=st.binary(),
)
def _config(value, ending, edits, raw):
    with place() as root:
        path = root / "given" / f"settings.{ending}"
        path.write_bytes(edited(json.dumps(value).encode(), edits) or raw)
        said_or_right(lambda: read_config(path, "nrd"), root / "given")


@kind(
    "parameters of notebooks", text=st.one_of(st.text(max_size=40), NESTED.map(repr)), is_text=st.booleans()
)
def _parameters(text, is_text):
    with place() as root:
        said_or_right(lambda: values_of(text, is_text), root / "given")


@kind(
    "commands",
    words=st.lists(
        st.one_of(
            st.sampled_from(
                ["check", "apply", "import-decisions", "methods", "export", "PHOTOS", "--out", "--json"]
            ),
            st.text(max_size=8).filter(
                lambda t: not t.startswith(("lab", "train", "find", "rep", "comp", "tune"))
            ),
        ),
        max_size=5,
    ),
)
def _commands(words):
    with place() as root:
        folder = photos(root)
        said = io.StringIO()

        def act():
            try:
                with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                    status = cli.main([str(folder) if w == "PHOTOS" else w for w in words])
            except SystemExit as end:
                status = end.code
            assert status in (0, 1, 2) and "Traceback" not in said.getvalue(), (status, said.getvalue())

        with contextlib.chdir(root):
            said_or_right(act, root / "given")


@kind(
    "probabilities",
    array=st.lists(
        st.lists(st.one_of(st.floats(), st.floats(0, 1)), min_size=1, max_size=3), min_size=1, max_size=7
    ),
    ending=st.sampled_from(["npz", "npy", "csv"]),
    edits=st.one_of(st.none(), EDITS),
)
def _probs(array, ending, edits):
    with place() as root:
        folder = photos(root)
        path = _array(root, array, ending, "probs", edits)
        said_or_right(
            lambda: lnl_kit.find_errors(folder, probs=str(path), to=root / "found", report=False),
            root / "given",
        )


@kind(
    "features",
    array=st.lists(st.lists(st.floats(width=16), min_size=1, max_size=3), min_size=1, max_size=7),
    edits=st.one_of(st.none(), EDITS),
)
def _features(array, edits):
    with place() as root:
        folder = photos(root)
        path = _array(root, array, "npz", "features", edits)

        def act():
            features_of(data.load(f"folder:{folder}", root=root / "data", split=False), f"npz:{path}").array()

        said_or_right(act, root / "given")


def _array(root: Path, rows, ending: str, name: str, edits) -> Path:
    path, widths = root / "given" / f"x.{ending}", {len(r) for r in rows}
    array = np.array(rows, dtype=np.float32) if len(widths) == 1 else np.zeros(3, np.float32)
    if ending == "csv":
        path.write_text("cat,dog\n" + "\n".join(",".join(map(str, r)) for r in rows))
    elif ending == "npy":
        np.save(path, array)
    else:
        np.savez(path, **{name: array})
    if edits is not None:
        path.write_bytes(edited(path.read_bytes(), edits))
    return path


KEPT: dict[str, Path] = {}  # made once in the process that asks for cases: what those on folders begin with


def make_folders(root: Path) -> None:
    settle(root)
    run = lnl_kit.train("nrd", epochs=1, train_size=64, progress=False, keep=("weights",), out=root / "runs")
    KEPT["run"] = run.folder
    (root / "given").mkdir()
    folder, found = photos(root), root / "found"
    probs = np.random.RandomState(0).dirichlet(np.ones(2), 6)
    lnl_kit.find_errors(folder, probs=probs, to=found, report=False)
    made = Decisions(found / "decisions.csv")
    made.add("cat/0.png", "drop")
    made.add("dog/1.png", "class", "cat")
    KEPT["findings"] = found


def _copied(root: Path, which: str, file: int, edits, gone: bool) -> Path:
    to = root / "given" / which
    shutil.copytree(KEPT[which], to)
    files = sorted(p for p in to.iterdir() if p.is_file() and p.name != ".lock")
    path = files[file % len(files)]
    path.unlink() if gone else path.write_bytes(edited(path.read_bytes(), edits))
    return to


@kind("run folders", file=st.integers(0, 30), edits=EDITS, gone=st.booleans())
def _runs(file, edits, gone):
    with place() as root:
        folder = _copied(root, "run", file, edits, gone)

        parts = ("settings", "summary", "metrics", "arrays", "history", "labels", "classes")
        for part in parts:  # the kit mends its own folders, so that they may change
            said_or_right(lambda part=part: getattr(lnl_kit.open_run(folder), part))
        x = torch.zeros(2, 1, 16, 16, dtype=torch.uint8)
        said_or_right(lambda: lnl_kit.open_run(folder).predict(x))


@kind("findings and decisions", file=st.integers(0, 30), edits=EDITS, gone=st.booleans())
def _findings(file, edits, gone):
    with place() as root:
        folder = _copied(root, "findings", file, edits, gone)
        out = root / "out"
        out.mkdir()

        def act():
            opened = open_findings(folder)
            _ = opened.table, opened.classes, opened.changed

        said_or_right(act, root / "given")
        said_or_right(lambda: Decisions(folder / "decisions.csv").made, root / "given")
        with contextlib.suppress(
            *SENTENCES
        ):  # apply settles what a killed search left: given files may change
            apply(folder / "decisions.csv", out / "labels.csv")


@kind("decisions", rows=st.lists(st.lists(CELLS, max_size=6), max_size=6), edits=st.one_of(st.none(), EDITS))
def _decisions(rows, edits):
    with place() as root:
        folder = root / "given" / "findings"
        shutil.copytree(KEPT["findings"], folder)
        with open(folder / "decisions.csv", "a", newline="") as file:
            csv.writer(file).writerows(rows)
        if edits is not None:
            path = folder / "decisions.csv"
            path.write_bytes(edited(path.read_bytes(), edits))
        said_or_right(lambda: Decisions(folder / "decisions.csv").made, root / "given")


@kind(
    "tars",
    members=st.lists(
        st.tuples(
            st.sampled_from(
                ["a.png", "a.cls", "a.json", "b.png", "b.cls", "../c.png", "/d.png", "e.txt", "a"]
            ),
            st.one_of(st.just(picture("PNG")), st.binary(max_size=20), CELLS.map(lambda c: c.encode())),
            st.sampled_from(
                [tarfile.REGTYPE, tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE]
            ),
        ),
        max_size=6,
    ),
    edits=st.one_of(st.none(), EDITS),
)
def _tars(members, edits):
    with place() as root:
        path = root / "given" / "x.tar"
        with tarfile.open(path, "w") as file:
            for name, content, what in members:
                info = tarfile.TarInfo(name)
                info.type, info.size, info.linkname = (
                    what,
                    len(content) if what == tarfile.REGTYPE else 0,
                    "/etc/passwd",
                )
                file.addfile(info, io.BytesIO(content))
        if edits is not None:
            path.write_bytes(edited(path.read_bytes(), edits))
        said_or_right(lambda: data.load(f"tar:{path}", root=root / "data", split=False), root / "given")
