"""Random numbers as a function of what they are for: (seed, epoch, position), never of what ran before."""

from __future__ import annotations

import hashlib

import torch


def seed_of(*keys: object) -> int:
    """A 63-bit seed that depends on `keys` alone (numbers and strings), the same on every platform."""
    digest = hashlib.blake2b(repr(keys).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*keys: object) -> torch.Generator:
    """A CPU generator seeded by `keys`. Draws are made on the CPU, so they do not depend on the device."""
    return torch.Generator().manual_seed(seed_of(*keys))
