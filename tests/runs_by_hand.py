"""Run folders as `lnl train` leaves them, without a training."""

import json

from lnl_kit.files import safe
from lnl_kit.results import measured

ROW = {
    "method": "ce",
    "dataset": "digits",
    "noise": "symmetric",
    "rate": 0.5,
    "seed": 0,
    "preset": "quick",
    "model": "small_cnn",
    "epochs": 2,
    "train_images": 1437,
    "asked": "{}",
    "test_accuracy_last": 0.5,
    "seconds": 1.25,
}


def made_run(root, seed, *, method="ce", beside=True, finished=True, **more):
    """A run folder as `lnl train` leaves it, without its arrays."""
    folder = root / safe(method)[:80] / "digits" / "symmetric-0.5" / f"seed{seed}-{seed:08x}"
    folder.mkdir(parents=True, exist_ok=True)
    row = ROW | {"method": method, "seed": seed} | more
    told = {k: row[k] for k in ("method", "dataset", "noise", "rate", "seed", "preset", "model")}
    told |= {"settings": {"epochs": 2, "lr": 0.1}, "dataset_path": "digits", "train_images": 1437}
    (folder / "settings.json").write_text(json.dumps(told))
    lines = ["epoch,loss,test_accuracy", "1,0.5,0.123456", "2,,0.5"][: 3 if finished else 2]
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    if finished:
        summary = {k: v for k, v in row.items() if k != "asked"}
        (folder / "summary.json").write_text(json.dumps(summary))
        if beside:
            measured.keep(folder, row | {"asked": json.dumps({"method": method, "seed": seed})})
    return folder
