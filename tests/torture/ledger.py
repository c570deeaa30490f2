"""What was done so far: a file that later calls go on from, and the table made from it."""

import json
import os
import platform
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "data" / "measured" / "torture.json"


class Ledger:
    """Counts per campaign; written after each chunk, whole or not at all."""

    def __init__(self, path: Path | None):
        self.path = path
        self.all = json.loads(path.read_text()) if path and path.exists() else {}

    def of(self, campaign: str) -> dict:
        """done: cases so far (a case's number is its seed); faults: what went wrong, with its case; more:
        what a campaign itself remembers.
        """
        new = {
            "done": 0,
            "faults": [],
            "seconds": 0.0,
            "commits": [],
            "machines": [],
            "counts": {},
            "more": {},
        }
        return self.all.setdefault(campaign, new)

    def add(
        self, campaign: str, counts: dict[str, int], faults: list[dict], seconds: float, more: dict
    ) -> None:
        """A chunk: counts of cases by kind, what went wrong, how long it took."""
        entry = self.of(campaign)
        for kind, n in counts.items():
            entry["counts"][kind] = entry["counts"].get(kind, 0) + n
        entry["done"] += sum(counts.values())
        entry["faults"] += [fault | {"commit": commit()} for fault in faults]
        entry["seconds"] = round(entry["seconds"] + seconds, 1)
        entry["more"] |= more
        for name, value in (("commits", commit()), ("machines", machine())):
            if value not in entry[name]:
                entry[name].append(value)
        if self.path:
            temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_text(json.dumps(self.all, indent=1, sort_keys=True) + "\n")
            temporary.replace(self.path)


def commit() -> str:
    """The short name of the commit that is checked out, with a plus where files differ from it."""
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine() -> str:
    """CPU, cores and the month."""
    names = [n for n in Path("/proc/cpuinfo").read_text().splitlines() if n.startswith("model name")]
    name = names[0].partition(":")[2].strip() if names else platform.machine()
    return f"{name}, {os.cpu_count()} cores, {time.strftime('%Y-%m')}"


WANTED = {
    "kills": 1000,
    "writes": 3881,
    "machine": 400,
    "inputs": 10_000,
    "attacks": 1000,
    "learners": 300,
    "truth": 372,
    "load": 9,
    "pages": 1000,
}


def table(ledger: Ledger) -> str:
    """One line a campaign, for the README and the end of a call."""
    rows = ["| campaign | cases | of | faults | minutes |", "|---|---|---|---|---|"]
    for name, most in WANTED.items():
        entry = ledger.of(name)
        open_faults = [f for f in entry["faults"] if not f.get("mended")]
        rows.append(
            f"| {name} | {entry['done']:,} | {most:,} | {len(open_faults)} open, "
            f"{len(entry['faults']) - len(open_faults)} mended | {entry['seconds'] / 60:.0f} |"
        )
    return "\n".join(rows)
