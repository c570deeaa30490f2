"""What all kinds of bad input share: values, edits of bytes, a place, and what counts as an answer."""

import contextlib
import hashlib
import io
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from PIL import Image
from tasks import settle

from lnl_kit.files.write import RunError
from lnl_kit.run.state import Damaged

SENTENCES = (
    ValueError,
    RunError,
    Damaged,
    OSError,
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    FileExistsError,
)
SECONDS = 10  # a case hangs after so long

PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.integers(-3, 12),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        ["cat", "dog", "cat/0.png", "nan", "1e999", "none", "-1", "0", "1", "", "\x00", "../x", "é"]
    ),
)
NESTED = st.recursive(
    PLAIN,
    lambda s: st.lists(s, max_size=4) | st.dictionaries(st.text(max_size=8), s, max_size=4),
    max_leaves=12,
)
EDITS = st.tuples(
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=6),  # a byte set to another
    st.one_of(st.none(), st.none(), st.integers(0, 1 << 14)),  # cut off there
    st.binary(max_size=12),  # put in the middle
)


def edited(content: bytes, edits) -> bytes:
    """The bytes after EDITS."""
    sets, cut, more = edits
    found = bytearray(content[:cut])
    for at, value in sets:
        if found:
            found[at % len(found)] = value
    middle = len(found) // 2
    return bytes(found[:middle] + more + found[middle:]) if more else bytes(found)


def said_or_right(action: Callable[[], object], given: Path | None = None) -> None:
    """Call it. AssertionError unless it returns, or says one sentence, and leaves the files given alone."""
    before = given and state_of(given)

    def hang(*_):
        raise AssertionError(f"no answer in {SECONDS} s")

    signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        action()
    except SENTENCES as error:
        text = str(error)
        assert type(error) in SENTENCES, f"a {type(error).__name__} from the depths: {text}"
        assert 10 < len(text) < 2000 and "[Errno" not in text, f"no sentence: {text!r}"
        assert text.count("\n") <= 1, f"more than a sentence: {text!r}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert given is None or state_of(given) == before, "a file that was given is another now"


def state_of(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != ".lock"
    }


@contextlib.contextmanager
def place() -> Iterator[Path]:
    """A folder for a case, with `given` in it, and the kit's own data and runs below it."""
    with tempfile.TemporaryDirectory(prefix="input-") as name:
        root = Path(name)
        (root / "given").mkdir()
        settle(root)
        yield root


def picture(kind: str, seed: int = 0, size=(9, 7)) -> bytes:
    x, file = (
        np.random.RandomState(seed).randint(0, 256, (size[1], size[0], 3)).astype(np.uint8),
        io.BytesIO(),
    )
    Image.fromarray(x).save(file, kind)
    return file.getvalue()


def photos(root: Path, each: int = 3) -> Path:
    for k, name in enumerate(("cat", "dog")):
        (root / "given" / "photos" / name).mkdir(parents=True)
        for n in range(each):
            (root / "given" / "photos" / name / f"{n}.png").write_bytes(picture("PNG", 10 * k + n))
    return root / "given" / "photos"
