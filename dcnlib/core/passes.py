"""The two passes through the top layers: on the coarse map, and on the refined map.

`PlainPasses` is the definition: autograd for the saliency, and the whole top once more on the refined map. It takes any
top layers. `QuickPasses` gives the same results for tops built like the paper's (convolution, norm, ReLU, global
max-pool, linear, and scores that may be unflattened to several positions), without the arithmetic that isn't needed:
the entropy's gradient is zero outside the windows that win the max, and the second pass changes only the windows that
touch a refined cell. The tests hold it to the definition, gradients included.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcnlib.core.geometry import flatten
from dcnlib.core.patches import gather_cells, replace_cells
from dcnlib.core.saliency import attention_pass, probabilities
from dcnlib.utils.modules import is_watched, runs_as
from dcnlib.utils.tracing import traced_for

BAND = 4096  # windows of one image that are worked on together


class GlobalMaxPool(nn.Module):
    """(B, D, s1, s2) -> (B, D). Among equal values the first takes the whole gradient, as in a max-pool layer."""

    def forward(self, feature_map: Tensor) -> Tensor:
        return F.adaptive_max_pool2d(feature_map, 1).flatten(1)


CoarseAttention = tuple[Tensor, Tensor, Tensor]  # coarse_logits, entropy, saliency: see `attention_pass`


class Passes(ABC):
    """The passes of one batch of coarse maps (B, D, s1, s2) through the top layers."""

    def __init__(self, coarse_map: Tensor) -> None:
        self.coarse_map = coarse_map
        self._attention: CoarseAttention | None = None

    def attention(self) -> CoarseAttention:
        """The coarse prediction (B, L), its entropy (B,) and each cell's saliency (B, s1, s2); computed once.

        As `attention_pass` has it: running statistics, float32 at least, and no gradient flows from the results.
        """
        if self._attention is None:
            self._attention = self._first()
        return self._attention

    @property
    def predicted(self) -> bool:
        """Whether the coarse prediction was computed."""
        return self._attention is not None

    @abstractmethod
    def refined(self, cells: Tensor, fine_vectors: Tensor) -> Tensor:
        """The prediction (B, L) from the map with fine vectors (B, k, D) at cells (B, k)."""

    @abstractmethod
    def prediction(self) -> Tensor:
        """The prediction (B, L) from the map as it is."""

    def with_cells(self, cells: Tensor, fine_vectors: Tensor) -> Self:
        """The passes of the refined map, from which one may look on: at cells that have no fine vectors yet."""
        onward = copy.copy(self)
        onward.coarse_map = replace_cells(self.coarse_map, cells, fine_vectors)
        onward._attention = None
        return onward

    def take(self, images: Tensor) -> Self:
        """The passes of some images of the batch, by index or mask."""
        taken = copy.copy(self)
        taken.coarse_map = self.coarse_map[images]
        if self._attention is not None:
            coarse_logits, entropy, saliency = self._attention
            taken._attention = coarse_logits[images], entropy[images], saliency[images]
        return taken

    @property
    def discarded(self) -> int:
        """Multiplications for each cell whose products `refined` throws away."""
        return 0

    @abstractmethod
    def _first(self) -> CoarseAttention: ...


def passes_through(top: nn.Module, coarse_map: Tensor) -> Passes:
    """The passes through the top layers, quick ones if the top allows them."""
    parts = MaxPoolTop.find(top)
    return PlainPasses(top, coarse_map) if parts is None else QuickPasses(parts, coarse_map)


class PlainPasses(Passes):
    """The passes as the paper defines them, through any top layers."""

    def __init__(self, top: nn.Module, coarse_map: Tensor) -> None:
        super().__init__(coarse_map)
        self.top = top

    def _first(self) -> CoarseAttention:
        return attention_pass(self.top, self.coarse_map)

    def refined(self, cells: Tensor, fine_vectors: Tensor) -> Tensor:
        return self.top(replace_cells(self.coarse_map, cells, fine_vectors))

    def prediction(self) -> Tensor:
        return self.top(self.coarse_map.clone())  # a copy, since the top may work in place


# What a `MaxPoolTop` consists of.
_PARTS = (nn.Sequential, nn.Conv2d, nn.BatchNorm2d, nn.Identity, nn.ReLU, GlobalMaxPool, nn.Linear, nn.Unflatten)


class MaxPoolTop(NamedTuple):
    """The parts of a top that `QuickPasses` can take: F filters of K x K cells, then one linear layer, whose scores may
    be those of several positions."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d | nn.Identity
    linear: nn.Linear
    positions: nn.Unflatten | nn.Identity

    @classmethod
    def find(cls, top: nn.Module) -> Self | None:
        """The parts of a top that is such a sequence, else None."""
        if any(is_watched(part) or not runs_as(part, *_PARTS) for part in top.modules()):
            return None
        match list(flatten(top)):
            case [nn.Conv2d() as conv, nn.BatchNorm2d() | nn.Identity() as norm, nn.ReLU(), GlobalMaxPool(), *last]:
                plain = conv.padding == (0, 0) and conv.dilation == (1, 1) and conv.groups == 1
                square = conv.kernel_size[0] == conv.kernel_size[1] and conv.stride[0] == conv.stride[1]
                same = not isinstance(norm, nn.BatchNorm2d) or (norm.affine and norm.running_mean is not None)
                if plain and square and same and last and isinstance(last[0], nn.Linear):
                    match last[1:]:
                        case []:
                            return cls(conv, norm, last[0], nn.Identity())
                        case [nn.Unflatten(dim=1, unflattened_size=(_, _)) as positions]:
                            return cls(conv, norm, last[0], positions)
        return None

    def running_norm(self, windows: Tensor) -> Tensor:
        """The norm's output (B, F, S1, S2) under its running statistics."""
        if isinstance(self.norm, nn.Identity):
            return windows
        mean, variance, weight, bias = self._norm_parts(windows.dtype)
        return F.batch_norm(windows, mean, variance, weight, bias, training=False, eps=self.norm.eps)

    def running_slope(self, dtype: torch.dtype) -> Tensor:
        """The derivative of that by its input (F,)."""
        if isinstance(self.norm, nn.Identity):
            return self.conv.weight.new_ones(self.conv.out_channels, dtype=dtype)
        _, variance, weight, _ = self._norm_parts(dtype)
        return weight * (variance + self.norm.eps).rsqrt()

    def _norm_parts(self, dtype: torch.dtype) -> list[Tensor]:
        parts = (self.norm.running_mean, self.norm.running_var, self.norm.weight, self.norm.bias)
        return [part.to(dtype) for part in parts if isinstance(part, Tensor)]

    def block_weight(self) -> Tensor:
        """The filters cut into n x n blocks of s x s cells, s the stride, with zeros where K isn't a multiple of s.

        (F, D, n, s, n, s). Cell (i, j) meets windows (i // s - a, j // s - b) for a, b in 0..n - 1, and there the
        weight [:, :, a, i % s, b, j % s].
        """
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        missing = -kernel % stride
        weight = F.pad(self.conv.weight, (0, missing, 0, missing))
        return weight.unflatten(3, (-1, stride)).unflatten(2, (-1, stride))


class QuickPasses(Passes):
    """The passes through a `MaxPoolTop`. The convolution runs once, on the coarse map; the rest starts from there."""

    def __init__(self, top: MaxPoolTop, coarse_map: Tensor) -> None:
        super().__init__(coarse_map)
        self.top = top
        self.windows = top.conv(coarse_map)  # (B, F, S1, S2), before the norm
        self.blocks = top.block_weight()  # (F, D, n, s, n, s)

    @property
    def discarded(self) -> int:
        filters, depth, n, s = self.blocks.shape[:4]
        return filters * depth * n * n * (s * s - 1)

    def _first(self) -> CoarseAttention:
        # For each filter only the window that wins the max, with a value above zero, lets the gradient through.
        with torch.no_grad(), torch.autocast(self.coarse_map.device.type, enabled=False):
            dtype = torch.promote_types(self.windows.dtype, torch.float32)
            pooled, winner = self._pool(lambda windows: self.top.running_norm(windows.detach().to(dtype)))
            slope = self.top.running_slope(dtype)
            weight = self.top.linear.weight.to(dtype)  # (L, F)
            bias = None if self.top.linear.bias is None else self.top.linear.bias.to(dtype)
            coarse_logits = self.top.positions(F.linear(pooled, weight, bias))  # (B, L) or (B, P, L)

            o, log_o = probabilities(coarse_logits)
            H = -(o * log_o).sum(-1, keepdim=True)  # of each position
            by_logit = -o * (log_o + H)  # dH/dz_l = -o_l (log o_l + H)
            by_winner = (by_logit.flatten(1) @ weight) * (pooled > 0) * slope  # (B, F)
            return coarse_logits, H.flatten(1).sum(1), self._saliency(winner, by_winner)

    def _saliency(self, winner: Tensor, by_winner: Tensor) -> Tensor:
        """|| dH / dc_ij ||_2 from the winning windows (B, F) and dH by their convolution's outputs (B, F)."""
        rows, columns = self.windows.shape[2:]
        height, width = self.coarse_map.shape[2:]
        n, at_once = self.blocks.shape[2], self._rows_at_once
        if rows <= at_once:
            saliency = self._block_saliency(winner, by_winner, rows)
        else:  # blocks in bands, from the windows that reach them
            bands = []
            for begin in range(0, rows + n - 1, at_once):
                first, end = max(0, begin - n + 1), min(rows, begin + at_once)
                reaching = (winner >= first * columns) & (winner < end * columns)
                inside = (winner - first * columns).clamp(0, (end - first) * columns - 1)
                band = self._block_saliency(inside, by_winner * reaching, end - first)
                bands.append(band[:, begin - first :][:, :at_once])
            saliency = torch.cat(bands, dim=1)
        saliency = saliency.permute(0, 1, 3, 2, 4).flatten(3, 4).flatten(1, 2)
        return F.pad(saliency, (0, width - saliency.shape[2], 0, height - saliency.shape[1]))

    def _block_saliency(self, winner: Tensor, by_winner: Tensor, rows: int) -> Tensor:
        """The same for the cells of each block that so many rows of windows reach, (B, rows + n - 1, ..., s, s)."""
        columns = self.windows.shape[3]
        blocks = self.blocks.detach().to(by_winner.dtype)
        depth, n, s = blocks.shape[1:4]
        table = blocks.permute(0, 2, 4, 3, 5, 1).flatten(1)  # (F, n * n * s * s * D)

        bags = _sum_by_window(table, winner, by_winner, rows * columns)
        bags = bags.view(winner.shape[0], rows, columns, n, n, s, s, depth)

        # Block (a, b) of window (i, j) lies on the block (i + a, j + b) of the map.
        gradient = sum(
            F.pad(bags[:, :, :, a, b], (0, 0, 0, 0, 0, 0, b, n - 1 - b, a, n - 1 - a))
            for a in range(n)
            for b in range(n)
        )
        assert isinstance(gradient, Tensor)  # (B, rows + n - 1, columns + n - 1, s, s, D)
        return gradient.square().sum(-1).sqrt()

    def refined(self, cells: Tensor, fine_vectors: Tensor) -> Tensor:
        return self._head(self._refined_windows(cells, fine_vectors))

    def prediction(self) -> Tensor:
        return self._head(self.windows)

    def with_cells(self, cells: Tensor, fine_vectors: Tensor) -> Self:
        onward = super().with_cells(cells, fine_vectors)
        onward.windows = self._refined_windows(cells, fine_vectors)
        return onward

    def take(self, images: Tensor) -> Self:
        taken = super().take(images)
        taken.windows = self.windows[images]
        return taken

    def _refined_windows(self, cells: Tensor, fine_vectors: Tensor) -> Tensor:
        # The convolution is linear, so its output on the refined map is that on the coarse map, plus its weight applied
        # to (fine - coarse) where a window touches a refined cell.
        batch, filters, rows, columns = self.windows.shape
        if cells.shape[1] == 0:
            return self.windows
        n, s = self.blocks.shape[2:4]
        i, j = cells // self.coarse_map.shape[3], cells % self.coarse_map.shape[3]  # (B, k)

        difference = fine_vectors.to(self.coarse_map.dtype) - gather_cells(self.coarse_map, cells)  # (B, k, D)
        given_before = (cells[:, :, None] == cells[:, None]).tril(-1).any(-1)
        difference = difference.masked_fill(given_before[..., None], 0)
        # One product for all s * s places that a cell may take in a block; then pick each cell's own.
        everywhere = difference @ self.blocks.permute(1, 3, 5, 2, 4, 0).flatten(1)
        everywhere = everywhere.view(batch, -1, s * s, n * n * filters)
        place = ((i % s) * s + j % s)[:, :, None, None].expand(-1, -1, 1, n * n * filters)
        change = everywhere.gather(2, place).view(batch, -1, n, n, filters)

        steps = torch.arange(n, device=cells.device)
        row, column = (i // s)[:, :, None, None] - steps[:, None], (j // s)[:, :, None, None] - steps  # (B, k, n, n)
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        window = torch.where(inside, row * columns + column, 0).flatten(1)[:, :, None].expand(-1, -1, filters)
        change = (change * inside[..., None]).flatten(1, 3)
        windows = self.windows.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format)  # the one copy
        windows.flatten(1, 2).scatter_add_(1, window, change)
        return windows.permute(0, 3, 1, 2)

    def _head(self, windows: Tensor) -> Tensor:
        if self.top.norm.training:  # whose statistics are of all windows together
            pooled = F.adaptive_max_pool2d(F.relu(self.top.norm(windows)), 1).flatten(1)
        else:
            pooled, _ = self._pool(self.top.norm, windows)
        return self.top.positions(self.top.linear(pooled))

    def _pool(self, norm: Callable[[Tensor], Tensor], windows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Each filter's largest value (B, F) after norm and ReLU, and the first window that has it (B, F).

        On large maps in bands of rows, so that no second map of that size is held.
        """
        windows = self.windows if windows is None else windows
        (rows, columns), at_once = windows.shape[2:], self._rows_at_once
        bands = [windows] if rows <= at_once else windows.split(at_once, dim=2)
        largest = [
            [part.flatten(1) for part in F.adaptive_max_pool2d(F.relu(norm(band)), 1, return_indices=True)]
            for band in bands
        ]
        if len(largest) == 1:
            return largest[0][0], largest[0][1]
        pooled, band = torch.stack([value for value, _ in largest]).max(dim=0)  # among equal ones the first
        winners = torch.stack([at + number * at_once * columns for number, (_, at) in enumerate(largest)])
        return pooled, winners.gather(0, band[None])[0]

    @property
    def _rows_at_once(self) -> int:
        """Rows of windows that are worked on together."""
        return max(1, BAND // self.windows.shape[3])


def _sum_by_window(table: Tensor, winner: Tensor, by_winner: Tensor, windows: int) -> Tensor:
    """In each window the sum of the rows of a table (F, N) whose filters won there, times their factors.

    winner, by_winner (B, F): each filter's window and factor -> (B * windows, N).
    """
    batch, filters = winner.shape
    image = torch.arange(batch, device=winner.device)[:, None]
    if traced_for() == "onnx":  # it has no bags, and no search
        rows = (by_winner[:, :, None] * table).flatten(0, 1)
        return rows.new_zeros(batch * windows, table.shape[1]).index_add(0, (winner + windows * image).flatten(), rows)
    winner, order = winner.sort(dim=1)
    window = torch.arange(windows, device=winner.device).expand(batch, -1).contiguous()
    begin = torch.searchsorted(winner, window) + filters * image
    weights = by_winner.gather(1, order).flatten()
    return F.embedding_bag(order.flatten(), table, begin.flatten(), mode="sum", per_sample_weights=weights)
