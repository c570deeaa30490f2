"""A program in the file formats that other tools read: each a function from `Made` to the bytes of one file.

What is written is read back and asked for a prediction before it counts: `difference` is what came out.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .program import HeadProgram, Made, Whole

FORMATS = ("safetensors", "onnx", "torch-export", "torchscript")
FILES = dict(zip(FORMATS, ("model.safetensors", "model.onnx", "model.pt2", "model.torchscript.pt")))
NEEDS = {"onnx": ("onnx", "onnxscript")}
PRECISE = 1e-5  # the largest difference of a probability that is allowed
TRIED = 8  # random inputs that a file is tried on


def require(kind: str) -> None:
    """Refuse in one sentence a format that needs a package which is not installed."""
    lacking = [name for name in NEEDS.get(kind, ()) if importlib.util.find_spec(name) is None]
    if lacking:
        raise ValueError(f"--to {kind} needs {' and '.join(lacking)}: pip install 'lnl-kit[export]'")


def written(kind: str, made: Made, notes: dict[str, str]) -> tuple[bytes, float | None]:
    """(the file's bytes, the largest difference of a probability between it, read back, and the program on
    random inputs; None where the package that runs it is not installed).

    notes: texts that the file carries inside. Raises ValueError where it predicts something else.
    """
    require(kind)
    x = made.example(TRIED)
    with quietly():
        content = {"safetensors": weights, "onnx": onnx, "torch-export": exported, "torchscript": scripted}[
            kind
        ](made, notes)
        with torch.no_grad():
            wanted = made.module(x).numpy()
            found = predicted(kind, content, x, made)
    if found is None:
        return content, None
    difference = float(np.abs(found - wanted).max())
    if not difference <= PRECISE:
        raise ValueError(
            f"the {kind} file predicts probabilities that differ by {difference:.2g} from the run's: it was "
            "not written; another format may do"
        )
    return content, difference


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without the exporters' talk about themselves."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    before = [log.level for log in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for log in loggers:
            log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for log, level in zip(loggers, before):
                log.setLevel(level)


def weights(made: Made, notes: dict[str, str]) -> bytes:
    """safetensors: weights as `networks.<n>.<name>`; of a head `axes.projection` and `axes.shift` too."""
    from safetensors.torch import save  # bytes; comes with timm

    return save(tensors(made), notes)


def tensors(made: Made) -> dict[str, Tensor]:
    """The weights that a safetensors file holds. Those of a frozen network stay with its library."""
    found = {
        f"networks.{n}.{name}": value.detach().clone(memory_format=torch.contiguous_format)
        for n, net in enumerate(made.networks)
        for name, value in net.state_dict().items()
    }
    head = made.module.head if isinstance(made.module, Whole) else made.module
    if isinstance(head, HeadProgram):
        found |= {"axes.projection": head.projection.contiguous(), "axes.shift": head.axes_shift.contiguous()}
    return found


def program(made: Made) -> Any:
    """The program as torch.export has it, for any number of inputs at once."""
    any_number = {made.takes: {0: torch.export.Dim("batch", min=1)}}
    return torch.export.export(made.module, (made.example(2),), dynamic_shapes=any_number)


def exported(made: Made, notes: dict[str, str]) -> bytes:
    """torch.export: a .pt2 file."""
    file = io.BytesIO()
    torch.export.save(program(made), file, extra_files=notes)
    return file.getvalue()


def onnx(made: Made, notes: dict[str, str]) -> bytes:
    """ONNX, one file with the weights inside; the output is called `probabilities`."""
    any_number = {made.takes: {0: torch.export.Dim("batch", min=1)}}
    found: Any = torch.onnx.export(
        made.module,
        (made.example(2),),
        input_names=[made.takes],
        output_names=["probabilities"],
        dynamic_shapes=any_number,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    model = found.model_proto
    for name, value in notes.items():
        model.metadata_props.add(key=name, value=value)
    return model.SerializeToString()


def scripted(made: Made, notes: dict[str, str]) -> bytes:
    """TorchScript by tracing: nothing in the networks depends on the data."""
    file = io.BytesIO()
    with torch.no_grad():
        traced = torch.jit.trace(made.module, made.example(2), check_trace=False)
    torch.jit.save(traced, file, _extra_files=notes)
    return file.getvalue()


def predicted(kind: str, content: bytes, x: Tensor, made: Made) -> np.ndarray | None:
    """Probabilities (n, K) by the file itself, read back from its bytes."""
    file = io.BytesIO(content)
    if kind == "torch-export":
        return torch.export.load(file).module()(x).numpy()
    if kind == "torchscript":
        return torch.jit.load(file, map_location="cpu")(x).numpy()
    if kind == "onnx":
        return by_onnxruntime(content, x, made.takes)
    from safetensors.torch import load

    held, back = load(content), tensors(made)
    same = held.keys() == back.keys() and all(torch.equal(held[name], back[name]) for name in back)
    return made.module(x).numpy() if same else np.full((1, 1), np.inf)


def by_onnxruntime(content: bytes, x: Tensor, name: str) -> np.ndarray | None:
    """Probabilities (n, K) by onnxruntime, None where it is not installed."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {name: x.numpy()})[0]


def notes_of(card: dict) -> dict[str, str]:
    """What a file carries inside: `model.json` as one text, and the class names by themselves."""
    return {"model.json": json.dumps(card), "classes": json.dumps(card["classes"])}
