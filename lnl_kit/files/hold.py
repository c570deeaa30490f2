"""A folder that one process alone works in: of this machine, of all that share its disk or its store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from .lease import TERMS, Lease, OnDisk, lease
from .store import InStore, Store
from .write import clear, lock, remove_leftovers


class Hold:
    """What holding a folder gives: commits that no other process can mix with its own."""

    def __init__(self, folder: Path | None = None, store: Store | None = None):
        self.folder, self.store = folder, store
        self.leases: list[Lease] = []

    @contextlib.contextmanager
    def commit(self) -> Iterator[None]:
        """Around what is written as one step: still the holder before it, in the store after it. Raises
        RunError.
        """
        for held in self.leases:
            held.require()
        yield
        if self.store and self.folder:
            self.store.push(self.folder)

    def clear(self) -> None:
        """Forget what the folder holds, here and in the store (see `write.clear`)."""
        if self.folder:
            if self.store:
                self.store.clear(self.folder)
            clear(self.folder)

    def within(self, folder: Path, unless: Callable[[], bool]):
        """Hold another folder in the same way (see `hold`)."""
        return hold(folder, self.store, unless)


@contextlib.contextmanager
def hold(
    folder: Path, store: Store | None = None, unless: Callable[[], bool] = lambda: False
) -> Iterator[Hold]:
    """Hold a folder against processes of this machine (by a kernel lock) and of others (by a lease), and
    bring what a store has of it here. unless: whether there is nothing left to write; no lease is taken then.
    """
    held = Hold(folder, store)
    with lock(folder), contextlib.ExitStack() as stack:
        if store:
            store.pull(folder)
        if not unless():
            held.leases.append(stack.enter_context(lease(OnDisk(folder))))
            if store:
                held.leases.append(stack.enter_context(lease(InStore(store, folder))))
                store.pull(folder)  # while it waited, another machine may have gone on
        remove_leftovers(folder / TERMS)
        yield held
