"""Every method on a GPU: by CUDA's rules on a pretended device here, and on a real one with `-m cuda`."""

import numpy as np
import pytest
import torch
from conftest import SHORT_STAGES, SIMILAR, in_turn
from pretend_cuda import pretend_cuda

import lnl_kit
from lnl_kit.data.batches import NoisyData
from lnl_kit.methods import METHODS

ON_IMAGES = [m for m, (_, settings) in METHODS.items() if not settings.needs_features]
SLOW = SIMILAR | {"pu_distill"}  # whose 200 filters take a minute
TINY = {"epochs": 2, "train_size": 80, "batch_size": 20, "progress": False}


def tiny(method):
    known = {"backward": {"transition": "known"}}  # the estimate of so short a run has no inverse
    return TINY | SHORT_STAGES.get(method, {}) | known.get(method, {})


def watch_bodies(monkeypatch, watched):
    """Call watched(True) where the body of a loop over batches begins, and watched(False) where it ends."""
    original = NoisyData.batches

    def batches(self, *args, **kwargs):
        for batch in original(self, *args, **kwargs):
            watched(True)
            yield batch
            watched(False)
        watched(False)

    monkeypatch.setattr(NoisyData, "batches", batches)


@pytest.mark.parametrize("method", in_turn(ON_IMAGES, SLOW))
def test_by_the_rules_of_cuda_every_method_stays_on_its_device_and_no_loop_waits(
    tmp_path, method, monkeypatch
):
    on_cpu = lnl_kit.train(method, out=tmp_path / "cpu", precision="fp32", **tiny(method))
    with pretend_cuda() as seen:
        seen.watching = False
        watch_bodies(monkeypatch, lambda inside: setattr(seen, "watching", inside))
        run = lnl_kit.train(method, out=tmp_path / "gpu", device="cuda", precision="fp32", **tiny(method))
        assert run.summary["device"] == "pretended"
    assert [r["loss"] for r in run.metrics] == pytest.approx([r["loss"] for r in on_cpu.metrics], rel=1e-3)
    assert not seen.waits


def test_the_pretence_refuses_what_cuda_refuses_and_counts_what_waits():
    with pretend_cuda() as seen:
        x, index = torch.arange(6.0, device="cuda"), torch.tensor([0, 2])
        assert x.is_cuda and x.device.type == "cuda" and not index.is_cuda and (x * torch.tensor(2.0)).is_cuda
        for mixed in (
            lambda: x + torch.ones(6),
            lambda: x.index_select(0, index),
            lambda: torch.cat((x, torch.ones(2))),
        ):
            with pytest.raises(AssertionError, match="two devices"):
                mixed()
        with pytest.raises((RuntimeError, TypeError)):
            x.numpy()
        assert not seen.waits
        assert x[index].tolist() == [0.0, 2.0] and x.max().item() == 5.0
        x[x > 3], moved = 0.0, index.to("cuda", non_blocking=True)
        assert moved.is_cuda and {w.split(" in ")[0] for w in seen.waits} == {
            "an index on the CPU",
            "a copy",
            "_local_scalar_dense",
            "a mask as index",
        }


# ---- on a GPU ----------------------------------------------------------------------------------------------


@pytest.mark.cuda
@pytest.mark.parametrize("method", ON_IMAGES)
def test_cuda_trains_every_method_as_the_cpu_does(tmp_path, method, monkeypatch):
    on_cpu = lnl_kit.train(method, out=tmp_path / "cpu", device="cpu", precision="fp32", **tiny(method))
    watch_bodies(monkeypatch, lambda inside: torch.cuda.set_sync_debug_mode("error" if inside else "default"))
    try:
        run = lnl_kit.train(method, out=tmp_path / "gpu", device="cuda", precision="fp32", **tiny(method))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    first, cpu_first = run.metrics[0]["loss"], on_cpu.metrics[0]["loss"]
    assert first == pytest.approx(cpu_first, rel=0.05, abs=0.02)
    assert (
        all(np.isfinite(r["loss"]) for r in run.metrics)
        and run.summary["device"] == torch.cuda.get_device_name()
    )


@pytest.mark.cuda
@pytest.mark.parametrize("method", ["ce", "nrd", "flywheel", "dividemix"])
def test_cuda_goes_on_where_it_was_stopped_in_bf16(tmp_path, method):
    def stop(rows):
        if len(rows) == 1:
            raise KeyboardInterrupt

    stopped = lnl_kit.train(method, out=tmp_path, device="cuda", on_epoch=stop, **TINY)
    assert len(stopped.metrics) == 1 and stopped.summary is None
    run = lnl_kit.train(method, out=tmp_path, device="cuda", **TINY)
    assert (
        run.folder == stopped.folder
        and [r["epoch"] for r in run.metrics] == [1, 2, 3]
        and run.metrics[0] == stopped.metrics[0]
    )
    assert run.summary["precision"] in ("bf16", "fp32")


@pytest.mark.slow
@pytest.mark.cuda
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_cuda_compiles(tmp_path, mode):
    run = lnl_kit.train("ce", out=tmp_path, device="cuda", compile=mode, **TINY)
    assert len(run.metrics) == 3 and run.metrics[-1]["loss"] < run.metrics[0]["loss"] * 1.2
