"""A session of `lnl_kit.bench.gpu`: which job runs when, in which process, and what is written of it."""

from __future__ import annotations

import datetime
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from ..data.parallel import cores
from ..results import measured
from ..run.opened import OpenedRun
from . import gpu_jobs
from .gpu_plan import REHEARSAL, Job, Size, jobs
from .gpu_process import Clock, Ledger, Worker

ENOUGH = 0.95  # fewer processes are taken where they reach this share of the most images a second
LARGE_BESIDE = 2.2  # how much longer a run on the large network takes, of which two share the GPU
TRACES = 2  # loops of a network that are profiled


class Pace:
    """How long training runs take side by side, learned for each network from those that have ended."""

    def __init__(self):
        self.slower, self.took, self.expected = 1.0, {}, {}

    def before(self, job: Job) -> float:
        """Expected seconds before any has ended: all small ones share the GPU, and two large ones."""
        return job.seconds * (LARGE_BESIDE if job.share else self.slower)

    def of(self, job: Job) -> float:
        """Expected seconds."""
        if job.kind != "run":
            return job.seconds
        learned = (
            self.took.get(job.share, 0.0) / self.expected[job.share] if job.share in self.expected else 1.0
        )
        return self.before(job) * learned

    def learn(self, job: Job, seconds: float) -> None:
        """A run has ended."""
        self.took[job.share] = self.took.get(job.share, 0.0) + seconds
        self.expected[job.share] = self.expected.get(job.share, 0.0) + self.before(job)


class Session:
    """One call of the command: its clock, ledger, processes and images."""

    def __init__(
        self,
        out: Path,
        work: Path,
        minutes: float,
        images: str | None,
        rehearse: bool,
        processes: int | None,
        only: str,
    ):
        self.clock, self.out, self.work, self.images = Clock(minutes), out, work, images
        self.device, self.name = ("cpu", "CPU") if rehearse else ("cuda", "CUDA GPU")
        self.size, self.only = REHEARSAL if rehearse else Size(), tuple(o for o in only.split(",") if o)
        self.processes = processes
        self.ledger, self.pace, self.workers = Ledger(out / "gpu.jsonl"), Pace(), list[Worker]()
        self.lock, self.at_work, self.stopped = threading.Condition(), 0.0, False
        self.place: dict = {}  # where the images are, once they are decoded
        self.decoder: Worker | None = None
        self.traces: dict = {}  # how many loops of a network were profiled
        self.log = open(out / "log.txt", "ab")  # noqa: SIM115 - as long as the session
        self.environment = os.environ | {
            "LNL_DATA": str(work / "data"),
            "LNL_HEADLESS": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(
                [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
            ),
            "TORCHINDUCTOR_CACHE_DIR": str(work / "inductor"),
            "TRITON_CACHE_DIR": str(work / "triton"),
        }

    def wanted(self, job: Job) -> bool:
        """Whether a job is asked for and not done yet."""
        return job.name not in self.ledger.ended and (not self.only or job.name.startswith(self.only))

    def say(self, text: str) -> None:
        """A line for who watches, and for the log."""
        line = f"{self.clock.now():6.1f} s  {text}"
        print(line, file=sys.stderr, flush=True)
        self.log.write(line.encode() + b"\n")
        self.log.flush()

    # ---- the whole of it

    def run(self) -> None:
        """All jobs that fit."""
        plan = [job for job in jobs(self.size) if self.wanted(job)]
        self.say(f"{len(plan)} jobs, {len(self.ledger.ended)} ended before")
        if not plan:
            return
        guard = threading.Timer(self.clock.left() + 6, self.stop_at_once)
        guard.daemon = True
        guard.start()
        try:
            with ThreadPoolExecutor(1) as pool:
                self.start()
                ready = pool.submit(self.decode)
                self.warm()
                self.alone([job for job in plan if job.alone and not job.name.startswith("c/compile")])
                ready.result()
            self.beside([job for job in plan if not job.alone and not job.fill])
            self.alone([job for job in plan if job.name.startswith("c/compile")])
            self.beside([job for job in plan if job.fill])
        finally:
            guard.cancel()
            self.stop()
            self.say("the end")

    def start(self) -> None:
        """Start as many processes as an earlier call found best, or may be tried, and one for the images."""
        measured_before = next((r for r in self.ledger.rows if r.get("chosen")), {})
        self.pace.slower = measured_before.get("slower", 1.0)
        count = self.processes or measured_before.get("chosen") or max(self.size.processes)
        count = max(1, min(count, cores() - 2 if self.device == "cuda" else 2))
        self.workers = [Worker(self.log, self.environment) for _ in range(count)]
        self.decoder = Worker(self.log, self.environment)

    def warm(self) -> None:
        """Every process imports torch and sets up the device."""
        with ThreadPoolExecutor(len(self.workers)) as pool:
            ask = {"device": self.device}
            asked = [pool.submit(w.ask, "warm", ask, min(120, self.clock.left())) for w in self.workers]
            answers = [a.result() for a in asked]
        failed = [a["error"] for a in answers if "error" in a]
        self.name = next((a["name"] for a in answers if "name" in a), self.name)
        self.ledger.add(
            {
                "job": "call",
                "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "device": self.name,
                "minutes": (self.clock.end - self.clock.began) / 60,
                "commit": measured.commit(),
                "torch": torch.__version__,
                "rehearsal": self.device == "cpu",
                "failed": failed,
            }
        )
        self.say(
            f"{self.name}: {len(self.workers)} processes are ready"
            + (f" but {len(failed)}: {failed[0]}" if failed else "")
        )

    def stop(self) -> None:
        """End every process; what they were at is noted, and nothing begins any more."""
        self.stopped = True
        for worker in [*self.workers, *([self.decoder] if self.decoder else [])]:
            worker.end()

    def stop_at_once(self) -> None:
        """The last resort where something waits that should not."""
        self.stop()
        os._exit(3)

    def decode(self) -> None:
        """Unpack and decode the images, in a process of its own, while the loops are timed: on one of the
        cores.
        """
        limit, decoder = min(180, self.clock.left()), self.decoder
        assert decoder is not None, "start() comes first"
        if self.images is None:
            self.images = str(self.work / "toy")
            decoder.ask("toy_images", {"folder": self.images}, limit)
        self.place = decoder.ask("prepare", {"images": self.images, "work": str(self.work)}, limit)
        decoder.end()
        self.ledger.add({"job": "images", "at": round(self.clock.now(), 1)} | self.place)
        self.say(f"images: {self.place}")

    # ---- jobs

    def alone(self, plan: list[Job]) -> None:
        """One after the other, with nothing beside."""
        for job in plan:
            if self.fits(job):
                if job.kind == "rate":
                    self.side_by_side(job)
                else:
                    self.do(job, self.workers[0])

    def beside(self, plan: list[Job]) -> None:
        """Several at a time, in order; one on the large network takes the place of half of the small ones."""

        def serve(worker: Worker) -> None:
            while job := self.take(plan):
                try:
                    self.do(job, worker)
                finally:
                    with self.lock:
                        self.at_work -= self.places(job)
                        self.lock.notify_all()

        with ThreadPoolExecutor(len(self.workers)) as pool:
            for done in [pool.submit(serve, worker) for worker in self.workers]:
                done.result()

    def take(self, plan: list[Job]) -> Job | None:
        """The first job that fits in what is left, once there is room for it; None where none fits."""
        with self.lock:
            while True:
                job = next((j for j in plan if self.fits(j)), None)
                if job is None or self.at_work + self.places(job) <= len(self.workers):
                    break
                self.lock.wait(1.0)
            if job is not None:
                plan.remove(job)
                self.at_work += self.places(job)
            return job

    def places(self, job: Job) -> float:
        """How many of the processes a job takes the place of."""
        return max(1.0, job.share * len(self.workers))

    def fits(self, job: Job) -> bool:
        """Whether a job can be done in what is left."""
        if self.stopped or (job.kind == "run" and "folder" not in self.place):
            return False
        return self.clock.left() > (5 if job.fill else self.pace.of(job))

    def do(self, job: Job, worker: Worker) -> None:
        """One job, and its row."""
        if self.stopped:
            return
        if worker.process.poll() is not None:
            worker.start()
        args, began = {"device": self.device} | job.args, self.clock.now()
        if job.kind == "run":
            args |= {
                "folder": self.place["folder"],
                "labels": self.place["labels"],
                "out": str(self.work / "runs" / job.name.replace("/", "-")),
            }
        model = job.args.get("model")
        if job.kind == "bench" and self.traces.get(model, 0) < TRACES:
            args |= {"trace": str(self.out / f"trace-{job.name.replace('/', '-')}.json.gz")}
        # a run that is slower than foretold is worth more than what would come after it
        whole = job.fill or job.kind == "run"
        limit = self.clock.left() if whole else min(self.clock.left(), max(60.0, 4 * self.pace.of(job)))
        answer = worker.ask(job.kind, args, limit)
        seconds = self.clock.now() - began
        if "error" in answer and job.kind == "run":
            answer |= {
                "label": job.args["label"],
                "settings": job.args["settings"],
                "noise": job.args["noise"],
                "seed": job.args["seed"],
                "model": job.args["model"],
                "epochs": epochs_of(Path(args["out"])),
            }
        elif job.kind == "run":
            self.pace.learn(job, seconds)
        self.traces[model] = self.traces.get(model, 0) + ("profile" in answer)
        self.ledger.add(
            {
                "job": job.name,
                "kind": job.kind,
                "ended": "error" not in answer,
                "at": round(began, 1),
                "seconds": round(seconds, 2),
                "expected": round(self.pace.of(job), 1),
                "device": self.name,
            }
            | answer
        )
        self.say(f"{job.name}: {in_short(answer)} ({seconds:.1f} s)")

    def side_by_side(self, job: Job) -> None:
        """How many processes get most out of the GPU: only so many are kept."""
        counts = [n for n in self.size.processes if n <= len(self.workers)]
        counts = counts if self.processes is None else [1, len(self.workers)]
        rates = {}
        with ThreadPoolExecutor(len(self.workers)) as pool:
            for n in dict.fromkeys(counts):
                asked = [
                    pool.submit(w.ask, "rate", {"device": self.device} | job.args, min(60, self.clock.left()))
                    for w in self.workers[:n]
                ]
                found = [a.result().get("images_per_second", 0.0) for a in asked]
                rates[n] = sum(found)
        most = max(rates.values())
        chosen = min(n for n, r in rates.items() if r >= ENOUGH * most) if most else 1
        if most and rates.get(1):
            self.pace.slower = max(1.0, chosen * rates[1] / rates[chosen])
        for worker in self.workers[chosen:]:
            worker.end()
        self.workers = self.workers[:chosen]
        self.ledger.add(
            {
                "job": job.name,
                "kind": "rate",
                "ended": bool(most),
                "images_per_second": rates,
                "chosen": chosen,
                "slower": self.pace.slower,
                "device": self.name,
            }
        )
        told = ", ".join(f"{n}: {r:.0f}" for n, r in rates.items())
        self.say(f"{job.name}: images/s by processes {told}; {chosen} are kept")


def epochs_of(out: Path) -> list[dict]:
    """The epochs that an unfinished run has kept."""
    found = next(iter(sorted(out.glob("*/*/*/*/settings.json"))), None)
    return [gpu_jobs.short(row) for row in OpenedRun(found.parent).metrics] if found else []


def in_short(answer: dict) -> str:
    """An answer in a few words."""
    if "error" in answer:
        return answer["error"]
    if "summary" in answer:
        s = answer["summary"]
        last, best = s["test_accuracy_last"], s["test_accuracy_best"]
        return f"last {last:.4f}, best {best:.4f}, memorised {s['memorized_last']}"
    if "ratio" in answer:
        return ", ".join(
            f"{k} {answer[k]:.3g}"
            for k in ("ratio", "loop_images_per_second", "sequential_seconds")
            if k in answer
        )
    return ", ".join(f"{k} {v}" for k, v in answer.items() if k != "said")[:400]
