"""Losses: Eq. 12 to 15, and the alternative metric losses of Table 9.

Every metric loss takes ``features (N, c)`` and ``labels (N,) int64`` of one *global* batch and returns a
scalar. Where the paper sums, these take the mean, so that a loss does not grow with the batch.
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
    """Batch-hard triplet loss (Eq. 13): each image's farthest positive against its nearest negative.

    Args:
        features: (N, c) floating point.
        labels: (N,) int64.
        margin: α.

    Returns:
        Mean over the anchors that have both a positive and a negative; zero if no anchor has.
    """
    distances = euclidean(features.float())
    same = labels[:, None] == labels[None, :]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    furthest = distances.masked_fill(~same | itself, -torch.inf).amax(1)
    nearest = distances.masked_fill(same, torch.inf).amin(1)
    usable = furthest.isfinite() & nearest.isfinite()
    # Masked instead of selected: to select, a GPU would have to wait for the number of usable anchors.
    losses = (margin + furthest - nearest).relu().masked_fill(~usable, 0.0)
    return losses.sum() / usable.sum().clamp(min=1)


def euclidean(features: Tensor) -> Tensor:
    """Compute the distances of all pairs, (N, c) to (N, N); the gradient at distance zero is zero, not NaN.

    From differences: at norms of 1,000, the expanded square cancels distances below 1.
    """
    return torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")


def instance_loss(features: Tensor, labels: Tensor, scale: float = 64.0) -> Tensor:
    """Instance loss: each image of the batch is a class; images of one identity share the target probability.

    After Zheng et al., Dual-path convolutional image-text embeddings with instance loss, TOMM 2020.
    """
    unit = F.normalize(features.float(), dim=1)
    target = (labels[:, None] == labels[None, :]).float()
    return F.cross_entropy(scale * unit @ unit.T, target / target.sum(1, keepdim=True))


def metric_loss(name: str, margin: float) -> MetricLoss:
    """Return a metric loss by name: ``triplet`` (Eq. 13), ``lifted``, ``contrastive``, ``circle``, ``instance``."""
    if name == "triplet":
        return partial(batch_hard_triplet, margin=margin)
    if name == "instance":
        return instance_loss
    # Imported only if needed: the import takes seconds, and the paper's own loss does without it.
    from pytorch_metric_learning import losses

    others = {
        "lifted": losses.LiftedStructureLoss,
        "contrastive": losses.ContrastiveLoss,
        # As its paper sets it for person re-identification.
        "circle": partial(losses.CircleLoss, m=0.25, gamma=128),
    }
    loss: MetricLoss = others[name]()
    return loss


def hsl_loss(theta: Tensor, boxes: Tensor) -> Tensor:
    """L_2 of Eq. 15: squared distance of predicted and true corners, in [0, 1] coordinates by r(·).

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
    """Eq. 14 summed over the branches; the metric loss sees the batches of all workers.

    Args:
        features: {branch: (n, c)} of this worker, of the branches that the metric loss compares.
        logits: {branch: (n, classes)} of this worker, of all branches.
        labels: (n,) int64 of this worker.
        metric: metric loss.
        eta_1: weight of the cross-entropy (Eq. 12).
        eta_2: weight of the metric loss.
        label_smoothing: label smoothing of the cross-entropy; the paper uses 0.

    Returns:
        The loss, and its detached terms. The loss's gradient, averaged over the workers, equals that of the
        global batch.
    """
    all_labels = _gather(labels)
    total = torch.zeros((), device=labels.device)
    terms: dict[str, Tensor] = {}
    for branch, scores in logits.items():
        cross_entropy = F.cross_entropy(scores.float(), labels, label_smoothing=label_smoothing)
        total = total + eta_1 * cross_entropy
        terms[f"cross_entropy/{branch}"] = cross_entropy.detach()
        if branch in features:
            mined = metric(_GatherWithGradient.apply(features[branch].float()), all_labels)
            total = total + eta_2 * mined
            terms[f"metric/{branch}"] = mined.detach()
    return total, terms


class _GatherWithGradient(torch.autograd.Function):
    """Gather the features of all workers in rank order, with gradient.

    Each of the W workers computes the whole global loss, so the gradients for one worker's features sum to
    W times the true one. DistributedDataParallel's averaging divides by W.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, features: Tensor) -> Tensor:
        return _gather(features)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> Tensor:
        (grad,) = grads
        if not _distributed():
            return grad
        # Copy first: autograd may pass the same tensor to other nodes.
        grad = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)
        return grad.chunk(dist.get_world_size())[dist.get_rank()]


def _gather(x: Tensor) -> Tensor:
    """Gather (n, …) of each worker to (W·n, …); n must be the same on every worker."""
    if not _distributed():
        return x
    parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
