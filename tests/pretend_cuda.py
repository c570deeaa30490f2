"""A CUDA device that is none: tensors that say they are on `cuda:0`, live in the CPU's memory, and follow
CUDA's rules.

    with pretend_cuda() as seen: x = torch.zeros(3, device="cuda")   # a Pretended x + torch.ones(3)
    # AssertionError: tensors of two devices x.max().item()                      # works, and is counted:
    Python waits for the GPU there seen.waits                              # Counter of what made Python wait,
    with the function of the kit that asked

A test without a GPU finds index tensors and masks on the wrong side, `.numpy()` of what is not on the CPU,
and waits inside a loop. What the real kernels compute is another matter: `python -m pytest -m cuda` on a
machine with a GPU.
"""

import collections
import contextlib
import traceback
from pathlib import Path

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

aten = torch.ops.aten
GPU, META, CPU = (torch.device(name) for name in ("cuda:0", "meta", "cpu"))
KIT = str(Path(__file__).parent.parent / "lnl_kit")
WAITING = {
    "_local_scalar_dense",
    "nonzero",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "bincount",
    "equal",
    "is_nonzero",
    "masked_select",
    "linalg_inv_ex",
    "_linalg_check_errors",
}  # what has to know numbers that are on the GPU
INDEXED = {"index", "index_put_", "index_put", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}


class Pretended(torch.Tensor):
    """A tensor on the pretended device; `inner` holds its numbers."""

    @staticmethod
    def __new__(cls, inner):
        self = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device="meta",
        )  # to torch's C++, which asks more of a CUDA tensor
        self.inner = inner
        return self

    @property
    def device(self):
        """Where it says that it is."""
        return GPU

    is_cuda = True

    def tolist(self):
        """A list of its numbers."""
        return self.cpu().tolist()

    def __deepcopy__(self, memo):
        copied = Pretended(self.inner.detach().clone()).requires_grad_(self.requires_grad)
        copied._is_param = getattr(self, "_is_param", False)
        memo[id(self)] = copied
        return copied

    def __repr__(self):
        return f"Pretended({tuple(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        raise AssertionError(f"{function} outside pretend_cuda()")


def of_gpu(v) -> bool:
    """Whether an argument names the GPU."""
    return (isinstance(v, torch.device) and v.type == "cuda") or (isinstance(v, str) and v.startswith("cuda"))


class Renamed(TorchFunctionMode):
    """What Python calls `cuda` is `meta` below."""

    def __init__(self, rules):
        super().__init__()
        self.rules = rules

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.device:
            return function(*args, **kwargs)
        if function in (torch.tensor, torch.as_tensor) and of_gpu(
            kwargs.get("device")
        ):  # made on the CPU, and copied
            self.rules.wait("a copy")
            return Pretended(function(*args, **kwargs | {"device": CPU}))
        args, kwargs = tree_map(lambda v: META if of_gpu(v) else v, (args, kwargs))
        return function(*args, **kwargs)


class Rules(TorchDispatchMode):
    """What a GPU would do with each operation: refuse it, wait, or go on."""

    def __init__(self):
        super().__init__()
        self.waits, self.watching = collections.Counter(), True

    def wait(self, what: str) -> None:
        """Python waits here; noted with the function of the kit that asked."""
        if not self.watching:
            return
        place = next(
            (
                f"{Path(f.filename).name} {f.name}"
                for f in reversed(traceback.extract_stack())
                if f.filename.startswith(KIT)
            ),
            "elsewhere",
        )
        self.waits[f"{what} in {place}"] += 1

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = function.overloadpacket.__name__
        flat = [v for v in tree_flatten((args, kwargs))[0] if isinstance(v, torch.Tensor)]
        ours = [v for v in flat if isinstance(v, Pretended)]
        theirs = [
            v for v in flat if not isinstance(v, Pretended) and v.dim()
        ]  # a 0-d tensor may be of the CPU
        device = kwargs.get("device")
        on_gpu = torch.device(device) == META if device is not None else bool(ours)
        self.check(function, name, args, kwargs, ours, theirs, on_gpu)
        if device is not None:
            kwargs["device"] = CPU
        kwargs.pop("pin_memory", None)
        plain_args, plain_kwargs = tree_map(
            lambda v: v.inner if isinstance(v, Pretended) else v, (args, kwargs)
        )
        out = function(*plain_args, **plain_kwargs)
        if not on_gpu or name == "_local_scalar_dense":
            return out
        known = {id(v.inner): v for v in ours}  # what is changed in place stays the tensor that it was
        return tree_map(
            lambda v: (
                v if not isinstance(v, torch.Tensor) else known[id(v)] if id(v) in known else Pretended(v)
            ),
            out,
        )

    def check(self, function, name, args, kwargs, ours, theirs, on_gpu) -> None:
        """Refuse what CUDA refuses; count what makes Python wait."""
        copying = name in ("_to_copy", "copy_")
        if ours and theirs and not copying:
            indices = [v for v in args[1] if v is not None] if name in INDEXED else []
            if not indices or len(theirs) > sum(not isinstance(v, Pretended) for v in indices):
                raise AssertionError(
                    f"{function} of tensors on two devices: {[tuple(v.shape) for v in ours]} on cuda:0, "
                    f"{[tuple(v.shape) for v in theirs]} on the CPU"
                )
            self.wait("an index on the CPU")
        if ours and name in WAITING:
            self.wait(name)
        if name in INDEXED and any(v is not None and v.dtype == torch.bool for v in args[1]) and ours:
            self.wait("a mask as index")
        if name == "_to_copy" and (bool(ours) != on_gpu) and not (on_gpu and kwargs.get("non_blocking")):
            self.wait("a copy")
        if (
            name == "copy_"
            and isinstance(args[0], Pretended) != isinstance(args[1], Pretended)
            and not (len(args) > 2 and args[2])
        ):
            self.wait("a copy")


@contextlib.contextmanager
def pretend_cuda():
    """Within it `device="cuda"` works; yields what was seen."""
    kept = {
        name: getattr(torch.cuda, name)
        for name in (
            "mem_get_info",
            "device_count",
            "get_device_name",
            "get_device_capability",
            "synchronize",
        )
    }
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    rules, load = Rules(), torch.load

    def load_there(*args, map_location=None, **options):
        loaded = load(*args, map_location=CPU, **options)
        return (
            tree_map(lambda v: Pretended(v) if isinstance(v, torch.Tensor) else v, loaded)
            if of_gpu(map_location)
            else loaded
        )

    try:
        torch.load = load_there
        torch.cuda.synchronize = lambda device=None: None
        torch.cuda.mem_get_info = lambda device=None: (80 << 30, 80 << 30)
        torch.cuda.device_count, torch.cuda.get_device_name = lambda: 1, lambda device=None: "pretended"
        torch.cuda.get_device_capability = lambda device=None: (
            7,
            0,
        )  # float32: autocast is off without a GPU
        with torch.backends.cudnn.flags(enabled=False), Renamed(rules), rules:
            yield rules
    finally:
        torch.load = load
        torch.__future__.set_overwrite_module_params_on_conversion(before)
        for name, function in kept.items():
            setattr(torch.cuda, name, function)
