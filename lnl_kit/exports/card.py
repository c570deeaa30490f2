"""The model card of an exported run: what it is, on what it was trained, how good it is, how it is used.

Texts that come from outside (class names, what was read of a folder) stand in blocks of JSON, where Markdown
finds nothing to interpret.
"""

from __future__ import annotations

import html
import json
import statistics
from collections.abc import Sequence

from ..methods import METHODS
from ..run.opened import OpenedRun
from .program import Made

# of settings.json, what runs that differ in their seed alone share
SHARED = (
    "method settings model dataset like noise rate precision noisy_val keep train_images fingerprint "
    "method_digest features feature_views clean_share open_set imbalance"
).split()
BY_SEED = ("test_accuracy_last", "test_accuracy_best", "test_ece_last", "memorized_last")
LIBRARIES = {"safetensors": "pytorch", "onnx": "onnx", "torch-export": "pytorch", "torchscript": "pytorch"}
READ = """\
import json
import numpy as np
from PIL import Image, ImageOps

about = json.load(open("model.json"))
"""
IMAGE = """\
channels, height, width = about["input"]["shape"][1:]
image = ImageOps.exif_transpose(Image.open("photo.jpg"))
if image.has_transparency_data:
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
image = image.convert("L" if channels == 1 else "RGB")
image = ImageOps.fit(image, (width, height), Image.Resampling.{resample})
images = np.ascontiguousarray(np.asarray(image).reshape(1, height, width, channels).transpose(0, 3, 1, 2))
"""
FEATURES = """\
features = np.load("features.npy").astype(np.float32)  # (B, D), by {features}
"""
ASK = {
    "onnx": """\
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
probabilities = session.run(["probabilities"], {{"{takes}": {takes}}})[0]
""",
    "torch-export": """\
import torch

program = torch.export.load("model.pt2").module()
probabilities = program(torch.from_numpy({takes})).detach().numpy()
""",
    "torchscript": """\
import torch

program = torch.jit.load("model.torchscript.pt")
probabilities = program(torch.from_numpy({takes})).detach().numpy()
""",
    "safetensors": """\
import torch
from lnl_kit.toolbox import models
from safetensors.torch import load_file

held, answers = load_file("model.safetensors"), []
{input}
for n, spec in enumerate(about["networks"]):
    net = models.make(spec["name"], spec["num_classes"], spec["channels"], pretrained=False).eval()
    own = f"networks.{{n}}."
    net.load_state_dict({{k.removeprefix(own): v for k, v in held.items() if k.startswith(own)}})
    answers.append(net(x).softmax(1))
probabilities = torch.stack(answers).mean(0).detach().numpy()
""",
}
NORMALISED = """\
mean, std = (torch.tensor(about["normalisation"][k]).view(-1, 1, 1) for k in ("mean", "std"))
x = (torch.from_numpy(images).float() / 255 - mean) / std"""
ON_AXES = """\
x = (torch.from_numpy(features) @ held["axes.projection"] - held["axes.shift"])[:, :, None, None]"""


def usage(kind: str, made: Made) -> str:
    """A Python program that asks an exported file for the class of an image (or of features)."""
    images = made.takes == "images"
    given = (
        IMAGE.format(resample=made.resample.upper()) if images else FEATURES.format(features=made.features)
    )
    ask = ASK[kind].format(takes=made.takes, input=NORMALISED if images else ON_AXES)
    imports, use = ask.split("\n\n", 1)
    start, rest = READ.split("\n\n", 1)
    last = 'print(about["classes"][probabilities[0].argmax()], probabilities[0].max())'
    return f"{start}\n{imports}\n\n{rest}{given}{use}{last}"


def same_but_seed(run: OpenedRun) -> list[OpenedRun]:
    """The finished runs beside this one that differ from it in nothing but their seed, it among them."""
    told = {key: run.settings.get(key) for key in SHARED}
    found: dict[int, OpenedRun] = {}
    for folder in sorted(run.folder.absolute().parent.glob("seed*")):
        try:
            other = OpenedRun(folder)
            same = all(other.settings.get(key) == value for key, value in told.items())
            if same and other.summary is not None:
                found.setdefault(other.settings["seed"], other)
        except (OSError, ValueError):  # no run, or one that cannot be read
            continue
    found[run.settings["seed"]] = run
    return [found[seed] for seed in sorted(found)]


def measured(runs: Sequence[OpenedRun]) -> dict[str, dict]:
    """{metric: mean, spread (standard deviation, None for one seed) and values} of finished runs, by seed."""
    found = {}
    for key in BY_SEED:
        values = [run.summary[key] for run in runs if run.summary and run.summary.get(key) is not None]
        if values:
            spread = statistics.stdev(values) if len(values) > 1 else None
            found[key] = {"mean": statistics.mean(values), "spread": spread, "values": values}
    return found


def about(run: OpenedRun, kind: str, file: str, made: Made, head_only: bool) -> dict:
    """What `model.json` says beside the file."""
    s, summary = run.settings, run.summary or {}
    runs = same_but_seed(run)
    images = made.takes == "images"
    entry: dict = {
        "name": made.takes,
        "dtype": "uint8" if images else "float32",
        "shape": ["batch", *made.shape],
        "range": [0, 255] if images else None,
    }
    if images:
        entry["steps"] = [
            "turn it as the camera's mark says",
            "grey" if made.shape[0] == 1 else "RGB, transparency on white",
            f"scale the shorter side and cut out the centre ({made.resample}, antialiased)",
            "channels first",
        ]
    inside = kind != "safetensors"
    return {
        "made_by": f"lnl-kit {s['versions']['lnl_kit']}",
        "format": kind,
        "file": file,
        "input": entry,
        "normalisation": {"mean": made.mean, "std": made.std, "inside": inside} if images else None,
        "output": {"name": "probabilities", "dtype": "float32", "shape": ["batch", len(run.classes)]},
        "classes": list(run.classes),
        "networks": made.names,
        "features": made.features or None,
        "head_only": head_only,
        "run": {
            "method": s["method"],
            "about": described(s["method"]),
            "dataset": s["dataset"],
            "train_images": s["train_images"],
            "taken": summary.get("taken", ""),
            "noise": s["noise"],
            "rate": s["rate"],
            "actual_rate": summary.get("actual_rate"),
            "told": summary.get("uses", []),
            "preset": s["preset"],
            "settings": s["settings"],
            "precision": s["precision"],
            "seed": s["seed"],
            "epochs_done": len(run.metrics),
            "finished": bool(summary),
            "device": summary.get("device"),
            "seconds": summary.get("seconds"),
            "versions": s["versions"],
            "fingerprint": s["fingerprint"],
        },
        "seeds": [other.settings["seed"] for other in runs],
        "measured": measured(runs),
    }


def described(method: str) -> str:
    """The method in one line, "" for a function of the user's own."""
    return (METHODS[method][1].__doc__ or "").splitlines()[0] if method in METHODS else ""


def readme(card: dict, difference: float | None, made: Made) -> str:
    """README.md: the card for people, with the front matter that model hubs read."""
    run, kind = card["run"], card["format"]
    wrong = "unknown" if run["actual_rate"] is None else f"{run['actual_rate']:.1%} of the training labels"
    noise = f"{run['noise']} {run['rate']:g}" if run["rate"] else run["noise"]
    facts = {
        "method": run["method"],
        "noise": f"{noise}; wrong: {wrong}",
        "data": f"{run['dataset']}, {run['train_images']} training images, {len(card['classes'])} classes",
        "networks": ", ".join(spec["name"] for spec in card["networks"]),
        "frozen features": card["features"] or "none: trained on the images",
        "told beyond images and labels": ", ".join(run["told"]) or "nothing",
        "trained": f"{run['epochs_done']} epochs{'' if run['finished'] else ', not finished'}, "
        f"{run['device'] or 'device not noted'}, {run['precision']}",
    }
    parts = [
        front_matter(kind, run["method"]),
        f"# {cell(run['method'])} on {cell(run['dataset'])}\n\n{cell(run['about'])}\n",
        "|  |  |\n|---|---|\n" + "".join(f"| {k} | {cell(v)} |\n" for k, v in facts.items()),
        "## How good it is\n\n" + accuracy(card),
        "## What goes in, what comes out\n\n" + ways(card, difference),
        f"```python\n{usage(kind, made)}\n```\n",
        "## Classes, settings, data\n\n```json\n"
        + json.dumps({k: card[k] for k in ("classes", "input", "normalisation", "run")}, indent=1)
        + "\n```\n",
    ]
    return "\n".join(parts)


def front_matter(kind: str, method: str) -> str:
    """The head of the card that model hubs read; JSON is YAML."""
    tags = ["image-classification", "noisy-labels", method]
    lines = {"library_name": LIBRARIES[kind], "pipeline_tag": "image-classification", "tags": tags}
    return "---\n" + "".join(f"{k}: {json.dumps(v)}\n" for k, v in lines.items()) + "---\n"


def accuracy(card: dict) -> str:
    """The measured numbers, with their spread over the seeds that are kept."""
    seeds = card["seeds"]
    words = {
        "test_accuracy_last": "test accuracy, last epoch (this file's weights)",
        "test_accuracy_best": "test accuracy, best epoch (chosen by looking at the test set)",
        "test_ece_last": "calibration error (ECE), last epoch",
        "memorized_last": "wrong training labels that it repeats",
    }
    lines = []
    for key, found in card["measured"].items():
        spread = "" if found["spread"] is None else f" ± {found['spread']:.3f}"
        mine = (
            found["values"][seeds.index(card["run"]["seed"])] if len(found["values"]) == len(seeds) else None
        )
        own = f"{mine:.3f}" if mine is not None else ""
        lines.append(f"| {words[key]} | {own} | {found['mean']:.3f}{spread} |\n")
    if not lines:
        return "The run is not finished: nothing is summed up yet.\n"
    head = f"|  | this run (seed {card['run']['seed']}) | mean over the seeds kept |\n|---|---|---|\n"
    known = ", ".join(map(str, seeds))
    told = f"Seeds kept: {known}." + ("" if len(seeds) > 1 else " One seed says nothing of the spread.")
    return head + "".join(lines) + f"\n{told} Test labels count as true.\n"


def ways(card: dict, difference: float | None) -> str:
    """The input and the output in sentences, and on what the file was tried."""
    entry = card["input"]
    shape = " x ".join(map(str, entry["shape"][1:]))
    if entry["name"] == "images":
        inside = "inside the file" if card["normalisation"]["inside"] else "left to the user (see below)"
        text = (
            f"In: `images`, uint8 (batch, {shape}), 0 to 255, as decoded; the normalisation is {inside}. "
            "Another size is brought to this one first, as in the program below.\n"
        )
    else:
        text = (
            f"In: `features`, float32 (batch, {shape}), what {cell(card['features'])} gives for an image; "
            "the principal axes are inside the file.\n"
        )
    text += f"Out: `probabilities`, float32 (batch, {len(card['classes'])}), in the order of the classes.\n"
    if difference is None:
        text += "The file was not tried: onnxruntime is not installed where it was made.\n"
    else:
        text += (
            f"Tried on random inputs, it differs from the run's own networks by {difference:.1g} at most.\n"
        )
    if card["run"]["precision"] == "bf16":
        text += (
            "The run computed in bfloat16, the file computes in float32: probabilities differ by about .01.\n"
        )
    return text


def cell(text: str) -> str:
    """A text within a line of Markdown: nothing in it is markup."""
    plain = html.escape(" ".join(str(text).split()))
    return "".join(f"&#{ord(c)};" if c in "|`*[]\\!~#" else c for c in plain)
