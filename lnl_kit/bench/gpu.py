"""`python -m lnl_kit.bench.gpu --minutes 9 --images FOLDER --out DIR`: the most to learn from a GPU's
minutes.

Steps: a device, b the CUDA tests, c the loops against their bounds, d augmentation, e stacked filters, f
CIFAR-10 with wrong labels, g a paper's cell; `gpu_plan` has their order and cost (`--plan` prints it). A job
that would not fit in what is left is passed over. Each ends with one line in DIR/gpu.jsonl, on disk at once,
and the same command with the same DIR goes on with what is not there yet. What runs when the minutes are over
is ended; of training runs the epochs are kept.

FOLDER: train/ and test/ with CIFAR-10 as JPEG, the .tar.xz of it, or a folder that holds either.
`--rehearse`: everything at a size of seconds, on the CPU; without `--images` on images of noise. It needs
torch, torchvision, numpy, scikit-learn, scipy, tqdm and pillow, and no network; the tests need pytest and
pytest-xdist.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

import torch

from .gpu_plan import Size, table
from .gpu_session import Session

LEAST = 20 << 30  # bytes of shared memory from which runs are kept there


def workplace(asked: str | None) -> Path:
    """Where images are unpacked and runs kept: shared memory if there is plenty, else a temporary folder."""
    if asked:
        return Path(asked).absolute()
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.statvfs(memory).f_bavail * os.statvfs(memory).f_frsize >= LEAST
    root = memory if roomy and "TMPDIR" not in os.environ else Path(os.environ.get("TMPDIR", "/tmp"))
    return root / f"lnl-gpu-{os.getuid()}"


def problem_of(args: argparse.Namespace) -> str | None:
    """What is wrong with the arguments, in a sentence."""
    if not args.out:
        return "--out is missing: where shall the rows go?"
    if not args.minutes > 0:
        return f"--minutes {args.minutes:g} is not allowed: above 0"
    if not (args.images or args.rehearse):
        return "--images is missing: a folder with CIFAR-10 as JPEG (only --rehearse does without)"
    if args.images and not Path(args.images).exists():
        return f"--images {args.images} does not exist"
    if args.processes is not None and args.processes < 1:
        return f"--processes {args.processes} is not allowed: at least 1"
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # asked without setting the GPU up in this process
    if not args.rehearse and not torch.cuda.is_available():
        return "no CUDA GPU is here: --rehearse tries the command on the CPU"
    return None


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m lnl_kit.bench.gpu", description=__doc__.partition("\n\n")[0]
    )
    parser.add_argument(
        "--minutes", type=float, default=9, help="the budget; the command ends within ten seconds of it"
    )
    parser.add_argument(
        "--images",
        help="CIFAR-10 as JPEG: a folder with train/ and test/, its .tar.xz, or a folder that holds either",
    )
    parser.add_argument("--out", help="where gpu.jsonl, log.txt and at most four traces go")
    parser.add_argument(
        "--only", default="", help="beginnings of the names of jobs, with commas between: c/,f2/worst"
    )
    parser.add_argument("--processes", type=int, help="training runs at a time (default: measured)")
    parser.add_argument("--work", help="where images are unpacked and runs are kept, for a later call")
    parser.add_argument("--rehearse", action="store_true", help="everything at a size of seconds, on the CPU")
    parser.add_argument(
        "--plan", action="store_true", help="print what each job is expected to cost, and end"
    )
    args = parser.parse_args(argv)
    if args.plan:
        print(table(Size()))
        return 0
    problem = problem_of(args)
    if problem:
        print(problem, file=sys.stderr)
        return 2
    out, work = Path(args.out), workplace(args.work)
    out.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    images = args.images and str(Path(args.images).absolute())
    session = Session(out, work, args.minutes, images, args.rehearse, args.processes, args.only)

    def stop(number, frame):
        session.stop()
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    session.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
