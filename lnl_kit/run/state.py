"""The state of a run: the networks, optimisers and tensors that decide its future, saved and put back."""

from __future__ import annotations

import errno
import hashlib
import io
import shutil
import sys
import zipfile
import zlib
from pathlib import Path

import torch
from torch import Tensor, nn

from ..files import RunError, ordinary
from ..toolbox import ranks

# What torch and zipfile say of an archive whose headings are not what was written.
ZIP_WORDS = ("PytorchStreamReader", "is encrypted")


class Damaged(RunError):
    """A file of a run that is not as it was written."""


def torch_bytes(value) -> memoryview:
    """`torch.save` into memory."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getbuffer()


def torch_read(path: Path):
    """What a file of `torch_bytes` holds, on the CPU. Raises Damaged where a part is not what was written, by
    the CRC-32 that the file has of each (torch does not compare them), OSError, and what torch raises.
    """
    with ordinary(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                if part := archive.testzip():
                    raise Damaged(f"{part} is not what was written")
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, zlib.error) as error:
            raise Damaged(str(error) or "cut off") from None
        except (OSError, RuntimeError) as error:
            if getattr(error, "errno", None) == errno.EINVAL:  # of seeking
                raise Damaged("it points outside itself") from None
            if not isinstance(error, Damaged) and any(word in str(error) for word in ZIP_WORDS):
                raise Damaged(str(error).splitlines()[0]) from None
            raise


def to_cpu(value):
    """The same nest of dictionaries and lists with every tensor detached on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {k: to_cpu(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_cpu(v) for v in value)
    return value


def to_device(value, device: torch.device):
    """The same nest with every tensor on the device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {k: to_device(v, device) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_device(v, device) for v in value)
    return value


class State(dict):
    """The named parts of a run that decide its future: networks, optimisers, schedules, tensors."""

    tested: tuple[str, ...]
    also_tested: tuple[str, ...]
    done: int = 0

    def networks(self) -> list[nn.Module]:
        """The parts that are networks."""
        return [v for v in self.values() if isinstance(v, nn.Module)]

    def snapshot(self) -> dict:
        """Everything as plain tensors, numbers and dictionaries."""
        return {k: to_cpu(v if isinstance(v, Tensor) else v.state_dict()) for k, v in self.items()}

    def restore(self, saved: dict) -> None:
        """Put a snapshot back, in place."""
        for name, part in self.items():
            if isinstance(part, Tensor):
                with torch.no_grad():
                    part.copy_(saved[name])
            else:
                part.load_state_dict(saved[name])

    def digests(self) -> dict[str, str]:
        """A digest of each part: two states that are equal to the last bit have the same."""
        return {name: digest(part) for name, part in self.snapshot().items()}

    def agree(self) -> None:
        """Of several ranks: take over the first one's parts where not all have the same, and say so.

        On one kind of processor they never differ. Sums in an order that is nobody's, which some of a GPU's
        kernels make, may.
        """
        if ranks.count() > 1 and (names := ranks.unlike(self.digests())):
            right = ranks.told(lambda: {name: self.snapshot()[name] for name in names})
            State({name: self[name] for name in names}).restore(right)
            if ranks.first():
                print(
                    f"the ranks have come to different {', '.join(names)}: the first one's hold",
                    file=sys.stderr,
                )


def digest(value) -> str:
    """Of a nest of dictionaries, lists, tensors and numbers."""
    found = hashlib.blake2b(digest_size=16)

    def add(part) -> None:
        if isinstance(part, Tensor):
            found.update(f"{part.dtype} {tuple(part.shape)}".encode())
            found.update(part.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        elif isinstance(part, dict):
            for key, inner in part.items():
                found.update(repr(key).encode())
                add(inner)
        elif isinstance(part, list | tuple):
            for inner in part:
                add(inner)
        else:
            found.update(repr(part).encode())

    add(value)
    return found.hexdigest()


def require_space(folder: Path, state: State, beside: int) -> None:
    """Refuse to start where the disk cannot hold the run: twice its state (the old and the new
    file, each with momentum still to come) and so many bytes beside.
    """
    need, free = 4 * len(torch_bytes(state.snapshot())) + beside, shutil.disk_usage(folder).free
    if free < need:
        raise RunError(
            f"{folder} has {free / 1e6:.0f} MB free and this run needs about {need / 1e6:.0f} MB: "
            "make room or choose another root with --out"
        )
