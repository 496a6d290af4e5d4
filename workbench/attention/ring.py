"""Attention over a sequence that is spread over several devices (ring attention, arXiv 2310.01889).

Every device keeps its queries; keys and values travel around the ring. Sequences are cut zigzag (piece r and piece
2n-1-r for device r), so that under a causal mask every device has the same work in every step.
"""

from typing import TypeAlias

import torch
import torch.distributed as dist

from workbench.attention.partial import Partial, attend, causal_part, merge, no_keys, stack

Tensor = torch.Tensor
Group: TypeAlias = "dist.ProcessGroup | None"


def own_piece(x: Tensor, *, rank: int, world: int) -> Tensor:
    """Return the tokens of one device, (batch, heads, tokens / world, head_dim); tokens divide by 2 x world."""
    pieces = x.chunk(2 * world, dim=2)
    return torch.cat([pieces[rank], pieces[2 * world - 1 - rank]], dim=2)


def ring(q: Tensor, k: Tensor, v: Tensor, *, backend: str, scale: float | None = None, group: Group = None) -> Tensor:
    """Return full causal attention of this device's queries over the keys of all.

    q: (batch, heads, tokens / world, head_dim), as ``own_piece`` cuts it; k, v: (batch, kv_heads, tokens / world,
    head_dim). ``group`` is a process group; the default one when None.
    """
    rank, world = dist.get_rank(group), dist.get_world_size(group)
    held = torch.stack([k, v])
    part: Partial | None = None
    for step in range(world):
        waiting, arriving = _pass_on(held, group, rank, world) if step + 1 < world else ([], held)
        new = _step(q, held[0], held[1], rank=rank, source=(rank - step) % world, backend=backend, scale=scale)
        part = new if part is None else merge([part, new])
        for request in waiting:
            request.wait()
        held = arriving
    assert part is not None
    return part.out


def _pass_on(held: Tensor, group: Group, rank: int, world: int) -> tuple[list[dist.Work], Tensor]:
    """Send keys and values to the next device while those of the one before arrive."""
    arriving = torch.empty_like(held)
    ahead, behind = (rank + 1) % world, (rank - 1) % world
    requests = dist.batch_isend_irecv(
        [
            dist.P2POp(dist.isend, held, group=group, group_peer=ahead),
            dist.P2POp(dist.irecv, arriving, group=group, group_peer=behind),
        ]
    )
    return requests, arriving


def _step(q: Tensor, k: Tensor, v: Tensor, *, rank: int, source: int, backend: str, scale: float | None) -> Partial:
    half = q.shape[2] // 2
    early, late = q[:, :, :half], q[:, :, half:]
    if source == rank:
        first = causal_part(
            early, k[:, :, :half], v[:, :, :half], first_query=0, first_key=0, backend=backend, scale=scale
        )
        second = causal_part(late, k, v, first_query=half, first_key=0, backend=backend, scale=scale)
        return stack([first, second])
    if source < rank:  # its early piece lies before both pieces of this device, its late piece after both
        return attend(q, k[:, :, :half], v[:, :, :half], backend=backend, scale=scale)
    return stack([no_keys(early), attend(late, k, v, backend=backend, scale=scale)])
