"""The optimisers of training: several processes move the weights just as one does."""
import sys
from pathlib import Path

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from engine.blockout.optimise import Muon, orthogonal


def stepped(rank: int, world: int, folder: str) -> None:
    """Three steps over the same gradients, by as many processes; the weights go to `folder`."""
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(shape)) for shape in ((12, 8), (8, 12), (24, 8), (6, 6))]
    muon = Muon([{"params": weights[:2]}, {"params": weights[2:], "parts": 3}])
    for turn in range(3):
        for p in weights:
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(turn))
        muon.step()
    torch.save([p.detach() for p in weights], f"{folder}/{world}-{rank}.pt")


def test_two_processes_take_turns_and_move_the_weights_as_one_does(tmp_path):
    stepped(0, 1, str(tmp_path))
    torch.multiprocessing.spawn(stepped, (2, str(tmp_path)), nprocs=2)
    alone, *both = (torch.load(tmp_path / name) for name in ("1-0.pt", "2-0.pt", "2-1.pt"))
    assert all(torch.equal(a, b) for weights in both for a, b in zip(alone, weights))


def test_orthogonal_turns_and_does_not_stretch():
    values = torch.linalg.svdvals(orthogonal(torch.randn(6, 10, generator=torch.Generator().manual_seed(2))))
    assert values.min() > .6 and values.max() < 1.3
