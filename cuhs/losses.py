"""Losses: Eq. 12 to 15, and the metric losses that Table 9 puts in the triplet's place.

Every metric loss takes ``features (N, c)`` and ``labels (N,) int64`` of one *global* batch and gives a scalar.
Sums of the paper are means here, so that a loss does not scale with the batch.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from cuhs.network.head_shoulder import theta_to_box

MetricLoss = Callable[[Tensor, Tensor], Tensor]


def batch_hard_triplet(features: Tensor, labels: Tensor, margin: float = 0.3) -> Tensor:
    """Batch-hard triplet loss, Eq. 13: each image's furthest positive against its nearest negative.

    Args:
        features: (N, c) floating point.
        labels: (N,) int64, at least two identities with one another image each.
        margin: α.

    Returns:
        Mean over the anchors that have both a positive and a negative; zero where none has.
    """
    distances = euclidean(features.float())
    same = labels[:, None] == labels[None, :]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    furthest = distances.masked_fill(~same | itself, -torch.inf).amax(1)
    nearest = distances.masked_fill(same, torch.inf).amin(1)
    usable = furthest.isfinite() & nearest.isfinite()
    if not usable.any():
        return features.sum() * 0.0
    return (margin + furthest - nearest)[usable].relu().mean()


def euclidean(features: Tensor) -> Tensor:
    """Distances of all pairs, (N, c) to (N, N), with a gradient of zero and not NaN at distance zero."""
    squares = features.square().sum(1)
    squared = squares[:, None] + squares[None, :] - 2 * features @ features.T
    return squared.clamp(min=1e-12).sqrt()


def instance_loss(features: Tensor, labels: Tensor, scale: float = 64.0) -> Tensor:
    """Instance loss: each image of the batch is a class of its own, its identity's images share the target.

    After Zheng et al., Dual-path convolutional image-text embeddings with instance loss, TOMM 2020.
    """
    unit = F.normalize(features.float(), dim=1)
    target = (labels[:, None] == labels[None, :]).float()
    return F.cross_entropy(scale * unit @ unit.T, target / target.sum(1, keepdim=True))


def metric_loss(name: str, margin: float) -> MetricLoss:
    """``triplet`` (Eq. 13), ``lifted``, ``contrastive``, ``circle`` or ``instance`` (Table 9)."""
    if name == "triplet":
        return partial(batch_hard_triplet, margin=margin)
    if name == "instance":
        return instance_loss
    # Here and not at the top: the import takes seconds, and the paper's own loss does without.
    from pytorch_metric_learning import losses

    others = {
        "lifted": losses.LiftedStructureLoss,
        "contrastive": losses.ContrastiveLoss,
        "circle": losses.CircleLoss,
    }
    loss: MetricLoss = others[name]()
    return loss


def hsl_loss(theta: Tensor, boxes: Tensor) -> Tensor:
    """L_2 of Eq. 15: squared distance of predicted and true corners, both in [0, 1] coordinates by r(·).

    Args:
        theta: T_θ, (N, 4).
        boxes: true x1 y1 x2 y2, (N, 4) in [0, 1].
    """
    return (theta_to_box(theta) - boxes).square().sum(1).mean()


def total_loss(
    features: Mapping[str, Tensor],
    logits: Mapping[str, Tensor],
    labels: Tensor,
    metric: MetricLoss,
    eta_1: float,
    eta_2: float,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. 14 summed over the branches, with the metric loss mined over the batches of all workers.

    Args:
        features: {branch: (n, c)} of this worker.
        logits: {branch: (n, classes)} of this worker.
        labels: (n,) int64 of this worker.
        metric: a metric loss.
        eta_1: weight of the cross-entropy (Eq. 12).
        eta_2: weight of the metric loss.
        label_smoothing: of the cross-entropy; 0 is the paper's.

    Returns:
        The loss whose gradient, averaged over the workers, is that of the global batch; and its detached terms.
    """
    all_labels = _gather(labels)
    total = torch.zeros((), device=labels.device)
    terms: dict[str, Tensor] = {}
    for branch, feature in features.items():
        cross_entropy = F.cross_entropy(logits[branch].float(), labels, label_smoothing=label_smoothing)
        mined = metric(_GatherWithGradient.apply(feature.float()), all_labels)
        total = total + eta_1 * cross_entropy + eta_2 * mined
        terms[f"cross_entropy/{branch}"] = cross_entropy.detach()
        terms[f"metric/{branch}"] = mined.detach()
    return total, terms


class _GatherWithGradient(torch.autograd.Function):
    """Features of all workers, in rank order, with gradient.

    Each worker computes the whole global loss, so the gradients that arrive for one worker's features on the W
    workers sum to W times the true one, and the averaging of DistributedDataParallel divides by W.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, features: Tensor) -> Tensor:
        return _gather(features)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> Tensor:
        (grad,) = grads
        if not _distributed():
            return grad
        # A copy: autograd may hand the same tensor to other nodes.
        grad = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)
        return grad.chunk(dist.get_world_size())[dist.get_rank()]


def _gather(x: Tensor) -> Tensor:
    """(n, …) of each worker to (W·n, …); every worker has the same n."""
    if not _distributed():
        return x
    parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
