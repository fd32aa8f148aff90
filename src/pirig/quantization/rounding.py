"""Round weights to integers: search for the best clipping scale, then round to nearest or by GPTQ.

In GPTQ, each column compensates for the rounding of the columns before it.

Axes: N output channels, K input channels, G groups of columns. A weight is represented by code · scale[n] or, if
columns are grouped, by code · share[n, g] · scale[n] with an int8 share, so that sums stay integers.
"""

import dataclasses

import torch
from torch import Tensor

_CLIPS = tuple(1.0 - 0.02 * i for i in range(31))  # 1.0 to 0.4 of the largest weight
_COLUMNS = 128  # block of columns that GPTQ corrects one by one before it updates the rest
_DAMPING = 0.01  # of the mean diagonal (Frantar et al., arXiv 2210.17323, section 3)
_SHARES = 127
_CACHED = 1 << 18  # weights that are searched together, so that they stay in the cache


@dataclasses.dataclass(eq=False)
class Moments:
    """The moments of a layer's inputs, accumulated row by row."""

    second: Tensor  # float32[K, K], Σ x xᵀ
    rows: int = 0  # M
    fourth: float = 0.0  # Σ ‖x‖⁴

    def add(self, x: Tensor) -> None:
        """Add the input rows x: float32[M, K]."""
        self.second.addmm_(x.T, x)
        self.rows += len(x)
        self.fourth += float(x.double().square().sum(1).square().sum())

    def shrunk(self) -> Tensor:
        """Return the mean second moment, float32[K, K], shrunk towards a multiple of the identity.

        The fewer rows there are, the stronger the shrinkage: Ledoit and Wolf, "A well-conditioned estimator for
        large-dimensional covariance matrices", 2004, lemma 3.3 and section 3.2. Without it, GPTQ compensates for
        correlations that exist only in the calibration data.
        """
        mean = self.second / max(self.rows, 1)
        size = float(mean.diagonal().double().sum()) / len(mean)
        norm = float(torch.linalg.norm(mean)) ** 2
        distance = norm - size**2 * len(mean)
        noise = (self.fourth / max(self.rows, 1) - norm) / max(self.rows, 1)
        part = min(max(noise / distance, 0.0), 1.0) if distance > 0 else 1.0
        mean *= 1 - part
        mean.diagonal().add_(part * size)
        return mean


@dataclasses.dataclass(frozen=True, eq=False)
class Rounded:
    codes: Tensor  # int8[N, K]
    scale: Tensor  # float32[N]
    share: Tensor | None = None  # int8[N, G]
    error: float = 0.0  # relative error of the output: Σ (ΔW H) ∘ ΔW / Σ (W H) ∘ W; H = 1 without calibration

    def dequantized(self) -> Tensor:
        """Return the weights that the codes represent, float32[N, K]."""
        return self.codes.float() * steps(self.scale, self.share, self.codes.shape[1])


def round_weights(w: Tensor, bits: int, *, hessian: Tensor | None = None, group: int = 0, clip: bool = True) -> Rounded:
    """Round the weights w: float32[N, K] to codes and scales.

    Args:
        hessian: float32[K, K], mean of x xᵀ over the inputs; without it, weights are rounded to the nearest code.
        group: number of columns that share a scale; 0 or more than K: all columns. Must divide K.
        clip: search for the scale; otherwise, the largest weight gets the largest code.
    """
    top = 2 ** (bits - 1) - 1
    damped = None if hessian is None else _damped(hessian)
    importance = None if damped is None else damped.diagonal()
    scale, share = _scales(w, top, importance, group if 0 < group < w.shape[1] else 0, clip)
    step = steps(scale, share, w.shape[1])
    codes = _nearest(w, step, top) if damped is None else _gptq(w, step, top, damped)
    left = w - codes * step
    return Rounded(codes.to(torch.int8), scale, share, _relative(left, w, hessian))


def steps(scale: Tensor, share: Tensor | None, columns: int) -> Tensor:
    """Return the value of a code of 1, float32[N, K] or [N, 1]."""
    if share is None:
        return scale[:, None]
    return (scale[:, None] * share.float()).repeat_interleave(columns // share.shape[1], dim=1)


def _scales(w: Tensor, top: int, importance: Tensor | None, group: int, clip: bool) -> tuple[Tensor, Tensor | None]:
    if not group:
        return _clipped(w, top, importance, clip), None
    parts = w.reshape(-1, group)
    repeated = None if importance is None else importance.reshape(-1, group).repeat(len(w), 1)
    wanted = _clipped(parts, top, repeated, clip).reshape(len(w), -1)
    scale = wanted.amax(1) / _SHARES
    return scale, (wanted / scale[:, None]).round().clamp(1, _SHARES).to(torch.int8)


def _clipped(w: Tensor, top: int, importance: Tensor | None, clip: bool) -> Tensor:
    """Return the scale with the least error, float32[N], among those tried.

    Errors are weighted by `importance`: [K] or [N, K].
    """
    rows = max(1, _CACHED // w.shape[1])
    weights = [None] * len(w.split(rows)) if importance is None else importance.expand_as(w).split(rows)
    return torch.cat([_clipped_rows(some, top, own, clip) for some, own in zip(w.split(rows), weights, strict=True)])


def _clipped_rows(w: Tensor, top: int, importance: Tensor | None, clip: bool) -> Tensor:
    largest = w.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny * top) / top
    if not clip:
        return largest
    best, least = largest, torch.full_like(largest, torch.inf)
    for part in _CLIPS:
        scale = largest * part
        error = _nearest(w, scale[:, None], top).mul_(scale[:, None]).sub_(w).square_()
        error = (error if importance is None else error.mul_(importance)).sum(1)
        best, least = torch.where(error < least, scale, best), torch.minimum(error, least)
    return best


def _nearest(w: Tensor, step: Tensor, top: int) -> Tensor:
    return (w / step).round_().clamp_(-top, top)


def _gptq(w: Tensor, step: Tensor, top: int, hessian: Tensor) -> Tensor:
    """Return codes, float32[N, K], by GPTQ (Frantar et al., arXiv 2210.17323, algorithm 1, columns in their order)."""
    upper = _inverse_root(hessian)
    w, codes = w.clone(), torch.empty_like(w)
    step = step.expand_as(w)
    for start in range(0, w.shape[1], _COLUMNS):
        block = slice(start, start + _COLUMNS)
        part, factors = w[:, block].clone(), upper[block, block]
        errors = torch.empty_like(part)
        for i in range(part.shape[1]):
            own = step[:, start + i]
            codes[:, start + i] = (part[:, i] / own).round().clamp(-top, top)
            errors[:, i] = (part[:, i] - codes[:, start + i] * own) / factors[i, i]
            part[:, i + 1 :] -= errors[:, i : i + 1] * factors[i, i + 1 :]
        w[:, start + _COLUMNS :] -= errors @ upper[block, start + _COLUMNS :]
    return codes


def _damped(hessian: Tensor) -> Tensor:
    """Return a damped copy. Channels that no input uses get 1 on the diagonal; then the whole diagonal is increased."""
    hessian = hessian.clone()
    diagonal = hessian.diagonal()
    diagonal[diagonal == 0] = 1.0
    diagonal += _DAMPING * diagonal.mean()
    return hessian


def _inverse_root(hessian: Tensor) -> Tensor:
    """Return the upper triangular U with Uᵀ U = H⁻¹. Increases the diagonal of H in place until U exists.

    Raises ArithmeticError if U does not exist after eight attempts, because H is not finite.
    """
    for _ in range(8):
        lower, failed = torch.linalg.cholesky_ex(hessian)
        if not failed:
            upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
            if not failed:
                return upper
        hessian.diagonal().add_(10 * _DAMPING * hessian.diagonal().mean())
    raise ArithmeticError("the inputs' second moments have no inverse, however damped: they are not finite")


def _relative(left: Tensor, w: Tensor, hessian: Tensor | None) -> float:
    def energy(x: Tensor) -> Tensor:
        return (x if hessian is None else x @ hessian).mul(x).sum()

    total = float(energy(w))
    return float(energy(left)) / total if total else 0.0
