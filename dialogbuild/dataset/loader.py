"""A torch DataLoader whose place in the epoch can be saved and taken up again, batch for batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import DataLoader

from dialogbuild.dataset.sampler import DialogSampler, Uneven
from dialogbuild.dataset.windows import DialogWindows
from dialogbuild.errors import ConfigError


class _Batches:
    """Index batches that are left of the sampler's epoch."""

    def __init__(self, sampler: DialogSampler, size: int) -> None:
        self.sampler, self.size = sampler, size

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.size)

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in iter(self.sampler):
            batch.append(index)
            if len(batch) == self.size:
                yield batch
                batch = []
        if batch:
            yield batch


class DialogLoader:
    """Batches of ``DialogWindows`` in the order of a ``DialogSampler``; one pass of ``for`` is (the rest of) one epoch.

    The state counts the batches that the loop was given, not what workers have read ahead, so a resumed run sees the
    same remaining batches with any number of workers. A state that is taken inside the loop counts its batch as done:
    take it after the optimizer's step. A loop that was left by ``break`` goes on where it stopped. Every rank must use
    the same batch size and take equally many batches, as data-parallel training does.

    Args:
        batch_size: windows per batch and rank; the last batch of an epoch may be smaller, on all ranks alike.
        seed, rank, world, shuffle, uneven: see ``DialogSampler``.
        options: anything else that ``torch.utils.data.DataLoader`` takes (num_workers, multiprocessing_context,
            persistent_workers, pin_memory, collate_fn, ...).

    Raises:
        ConfigError: impossible arguments, or no windows.
    """

    def __init__(
        self,
        windows: DialogWindows,
        batch_size: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        shuffle: bool = True,
        uneven: Uneven = "repeat",
        **options: Any,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, not {batch_size}")
        self._sampler = DialogSampler(
            len(windows),
            seed=seed,
            rank=rank,
            world=world,
            shuffle=shuffle,
            uneven=uneven,
            fingerprint=windows.fingerprint,
        )
        if len(self._sampler) == 0:
            raise ConfigError(
                f"no batch for rank {rank} of {world} in {len(windows)} windows: shorten window_ticks, or pad"
            )
        self._batches = _Batches(self._sampler, batch_size)
        self._loader: DataLoader[Any] = DataLoader(windows, batch_sampler=self._batches, **options)

    @property
    def epoch(self) -> int:
        """The epoch that the next batch belongs to."""
        return self._sampler.epoch

    def __len__(self) -> int:
        """Batches that are left of this epoch."""
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        left, size = len(self._sampler), self._batches.size
        for batch in self._loader:
            items = min(size, left)
            left -= items
            self._sampler.consume(items)
            yield batch

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; nothing happens when the loader already stands in it."""
        self._sampler.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Plain JSON types; the same on every rank, so that one rank's is enough."""
        return self._sampler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken. ConfigError for a state of other data."""
        self._sampler.load_state_dict(state)
