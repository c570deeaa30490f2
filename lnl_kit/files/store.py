"""A store: run folders kept in object storage or a synchronised folder, for machines that share no disk.

A folder is pulled before it is worked in and pushed after each commit, its files in the order in which they
were written, so that what one file promises lies there before it.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from .lease import TERMS
from .write import TEMPORARY, RunError, make_folder, save_atomically

OWN = (
    TERMS,
    "stages",
)  # not of the folder itself: of those who write it, and folders that are kept by themselves


class Store:
    """Folders by their path below a root, at a URL that fsspec knows: `s3://bucket/runs`, `file:///mnt/runs`.

    Raises ValueError where the URL is not understood, RunError where the store cannot be reached.
    """

    def __init__(self, url: str, root: Path):
        self.url, self.root = url, Path(root)
        self.fs, self.top = filesystem(url)
        self._pushed: dict[Path, tuple[int, int]] = {}  # size and time of what lies there

    def key(self, folder: Path, name: str = "") -> str:
        """Where a folder, or a file of it, lies."""
        parts = [self.top, folder.relative_to(self.root).as_posix(), name]
        return "/".join(part.rstrip("/") for part in parts if part)

    def pull(self, folder: Path) -> None:
        """Bring the files of a folder here; one that is here and not there stays."""
        try:
            found = self.fs.find(self.key(folder))
            names = sorted((n for p in found if self._belongs(n := self._name(folder, p))), key=_promises)
            if "summary.json" in names and self._is_here(folder / "summary.json"):
                return  # finished
            for name in names:
                make_folder((folder / name).parent)
                save_atomically(folder / name, self.fs.cat_file(self.key(folder, name)))
                self._pushed[folder / name] = _state(folder / name)
        except FileNotFoundError:
            return  # nothing is there yet
        except OSError as error:
            raise self._unreached(error) from None

    def push(self, folder: Path) -> None:
        """Bring what is new or was changed since to the store."""
        new = {p: s for p in folder.rglob("*") if p.is_file() and (s := _state(p)) != self._pushed.get(p)}
        try:
            for path, state in sorted(new.items(), key=lambda one: (one[1][1], _promises(one[0].name))):
                name = path.relative_to(folder).as_posix()
                if self._belongs(name) and not path.is_symlink():
                    self.write(self.key(folder, name), path.read_bytes())
                    self._pushed[path] = state
        except OSError as error:
            raise self._unreached(error) from None

    def _is_here(self, path: Path) -> bool:
        return path.exists() and path.read_bytes() == self.fs.cat_file(self.key(path.parent, path.name))

    def clear(self, folder: Path) -> None:
        """Forget a run: its summary first, so that it never looks finished."""
        try:
            found = self.fs.find(self.key(folder))
            for path in sorted(found, key=lambda path: not _promises(self._name(folder, path))):
                if self._name(folder, path).split("/")[0] != TERMS:
                    self.fs.rm_file(path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unreached(error) from None

    def write(self, key: str, content: bytes) -> None:
        """Write an object whole or not at all: object stores do so by themselves."""
        if "file" not in _protocols(self.fs):
            self.fs.pipe_file(key, content)
            return
        folder, _, name = key.rpartition("/")
        self.fs.makedirs(folder, exist_ok=True)
        temporary = f"{folder}/.lnl-{secrets.token_hex(8)}.tmp"
        self.fs.pipe_file(temporary, content)
        self.fs.mv(temporary, f"{folder}/{name}")

    def _name(self, folder: Path, path: str) -> str:
        return path.removeprefix(self.key(folder)).lstrip("/")

    @staticmethod
    def _belongs(name: str) -> bool:
        first, last = name.split("/")[0], name.split("/")[-1]
        above = ".." in name.split("/")
        return first not in OWN and last != ".lock" and not TEMPORARY.fullmatch(last) and not above

    def _unreached(self, error: OSError) -> RunError:
        return RunError(
            f"the store {self.url} cannot be reached: {error}; what was saved before is untouched, run the "
            "same command again"
        )


class InStore:
    """Terms of a lease (see `lease.Terms`) in a store, beside a folder."""

    def __init__(self, store: Store, folder: Path):
        self.store, self.place = store, store.key(folder, TERMS)

    def __str__(self) -> str:
        return self.place.removesuffix(f"/{TERMS}")

    def _key(self, number: int) -> str:
        return f"{self.place}/{number:06d}.json"

    def last(self) -> int:
        """The highest number."""
        self.store.fs.invalidate_cache()
        try:
            names = self.store.fs.ls(self.place, detail=False)
        except FileNotFoundError:
            return 0
        stems = [name.rpartition("/")[2].removesuffix(".json") for name in names]
        return max((int(stem) for stem in stems if stem.isdigit()), default=0)

    def read(self, number: int) -> bytes:
        """What a term says."""
        try:
            return self.store.fs.cat_file(self._key(number))
        except OSError:
            return b""

    def make(self, number: int, content: bytes) -> bool:
        """Make a term."""
        if "file" in _protocols(self.store.fs):
            self.store.fs.makedirs(self.place, exist_ok=True)
        try:
            self.store.fs.pipe_file(self._key(number), content, mode="create")
        except FileExistsError:
            return False
        return True

    def rewrite(self, number: int, content: bytes) -> None:
        """Write one's own term again."""
        self.store.write(self._key(number), content)


def filesystem(url: str) -> tuple[Any, str]:
    """(file system, path in it) of a URL. Raises ValueError."""
    import fsspec

    if "://" not in url:
        raise ValueError(f"--store {url} is not allowed: a URL such as s3://bucket/runs or file:///mnt/runs")
    try:
        return fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise ValueError(f"--store {url} cannot be used: {error}") from None


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _promises(name: str) -> bool:
    """Whether a file says that all others are there: it comes last."""
    return name == "summary.json"
