"""How far a method's inverse-curvature products are from solving F r = v, on a person's own data.

For block l and query q the method gives r_q,l for F_l⁻¹ v_q,l. Over all blocks together,

    residual(q) = sqrt(Σ_l ‖v_q,l − F_l r_q,l‖² / Σ_l ‖v_q,l‖²),

which is 0 for the exact inverse and 1 for r = 0. Rankings do not see the scale of r, so the
smallest residual over one factor c for all blocks, r → c·r, is given beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from datainf.attribution import AnyDamping, damping_of
from datainf.estimators import Estimator, from_name
from datainf.estimators.base import curvature_product
from datainf.store import GradientStore
from datainf.views import Blocks, Metric, Normalize, Options, views_of


@dataclass(frozen=True)
class InverseResiduals:
    """For every query [m]: `relative`, the residual in units of ‖v_q‖, and `scaled`, the least one
    that multiplying all of r_q by one factor can reach. 0 for a query whose gradient is zero."""

    relative: Tensor
    scaled: Tensor


def inverse_residuals(
    train: GradientStore,
    query: GradientStore,
    method: str | Estimator = "datainf",
    *,
    damping: AnyDamping | None = None,
    normalize: Normalize | None = None,
    metric: Metric | None = None,
    blocks: Blocks | None = None,
    steps: int | None = None,
) -> InverseResiduals:
    """Residuals of the method's solves for the queries, in float64; arguments as in `attribute`.

    Raises:
        OptionError: an unknown method or option.
        StoreMismatchError: the stores come from different weights or blocks.
    """
    estimator = from_name(method, steps=steps)
    train.require_same_model(query)
    (views,) = views_of([train], Options.of(estimator, normalize, metric, blocks))
    parsed = damping_of(damping, estimator, [views])
    G_all, V_all = views.train, views.of(query)
    # Sums over blocks of ‖v‖², v·Fr and ‖Fr‖², from which both residuals follow.
    vv, vf, ff = torch.zeros((3, len(query)), dtype=torch.float64)
    for name, G in G_all.items():
        if (lam := parsed.lambda_of(G)) == 0:
            continue
        fitted, V = estimator.fit(G), V_all[name].to_dense()
        R = fitted.solve(V.to(fitted.G.dtype), lam).R
        V, FR = V.double(), curvature_product(G.to(torch.float64), lam, R.T.double()).T
        vv += V.square().sum(dim=1)
        vf += (V * FR).sum(dim=1)
        ff += FR.square().sum(dim=1)
    size = torch.where(vv > 0, vv, 1)
    best = vf.square() / torch.where(ff > 0, ff, 1)
    return InverseResiduals(
        ((vv - 2 * vf + ff).clamp(min=0) / size).sqrt(), ((vv - best).clamp(min=0) / size).sqrt()
    )
