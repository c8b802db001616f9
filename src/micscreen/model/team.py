"""Several processes that train one network together, each on its share of every batch.

On a CPU this scales where the threads inside torch's convolutions do not. They exchange means
through shared memory: no sockets, which a fenced-in machine may refuse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

ROOM: Final = 4_000_000
"""Numbers that each process can share at once."""


class Team:
    """One process's view of all: its rank, their number, and the mean over them.

    Parameters
    ----------
    rank, size
        Of this process, and how many there are; with one, nothing is exchanged.
    board
        Shared tensor (size, `ROOM`).
    barrier
        Where all processes wait for each other.
    """

    def __init__(
        self, rank: int = 0, size: int = 1, board: Any = None, barrier: Any = None
    ) -> None:
        self.rank, self.size = rank, size
        self._board, self._barrier = board, barrier

    def mean(self, tensors: list[Any], number: float = 0.0) -> float:
        """Replace tensors by their means over all processes; return the mean of a number."""
        if self.size == 1:
            return number
        import torch

        flat = torch.cat([tensor.reshape(-1) for tensor in tensors] + [torch.tensor([number])])
        self._board[self.rank, : len(flat)] = flat
        self._barrier.wait()
        flat = self._board[:, : len(flat)].mean(dim=0)
        self._barrier.wait()
        start = 0
        for tensor in tensors:
            tensor.copy_(flat[start : start + tensor.numel()].view(tensor.shape))
            start += tensor.numel()
        return float(flat[-1])


def together(work: Callable[[Team], object], size: int) -> None:
    """Run work in `size` processes on the CPU that share means.

    Parameters
    ----------
    work
        Gets its `Team`; must be a picklable function.
    size
        Number of processes; 1 runs the work here.
    """
    if size == 1:
        work(Team())
        return
    import torch
    from torch import multiprocessing

    board = torch.zeros(size, ROOM).share_memory_()
    barrier = multiprocessing.get_context("spawn").Barrier(size)
    multiprocessing.spawn(_member, (work, size, board, barrier), nprocs=size)


def _member(rank: int, work: Callable[[Team], object], size: int, board: Any, barrier: Any) -> None:
    import torch

    torch.set_num_threads(1)
    work(Team(rank, size, board, barrier))
