"""Several processes that train one network together, each on its share of every batch.

On a CPU this scales where the threads inside torch's convolutions do not.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


class Team:
    """One process's view of all: its rank, their number, and the mean over them.

    Parameters
    ----------
    rank, size
        Of this process, and how many there are; with one, nothing is exchanged.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    def mean(self, tensors: list[Any], number: float = 0.0) -> float:
        """Replace tensors by their means over all processes; return the mean of a number."""
        if self.size == 1:
            return number
        import torch
        from torch import distributed

        flat = torch.cat([tensor.reshape(-1) for tensor in tensors] + [torch.tensor([number])])
        distributed.all_reduce(flat)
        flat /= self.size
        start = 0
        for tensor in tensors:
            tensor.copy_(flat[start : start + tensor.numel()].view(tensor.shape))
            start += tensor.numel()
        return float(flat[-1])


def together(work: Callable[[Team], object], size: int, meeting: Path) -> None:
    """Run work in `size` processes on the CPU that share means through gloo.

    Parameters
    ----------
    work
        Gets its `Team`; must be a picklable function.
    size
        Number of processes; 1 runs the work here.
    meeting
        A file that does not exist yet, through which they find each other.
    """
    if size == 1:
        work(Team())
        return
    from torch import multiprocessing

    meeting.parent.mkdir(parents=True, exist_ok=True)
    meeting.unlink(missing_ok=True)
    multiprocessing.spawn(_member, (work, size, str(meeting)), nprocs=size)
    meeting.unlink(missing_ok=True)


def _member(rank: int, work: Callable[[Team], object], size: int, meeting: str) -> None:
    import torch
    from torch import distributed

    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=size
    )
    work(Team(rank, size))
    distributed.destroy_process_group()
