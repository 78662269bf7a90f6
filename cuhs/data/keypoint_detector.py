"""Head-shoulder boxes of images without annotations, by torchvision's Keypoint R-CNN."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import keypointrcnn_resnet50_fpn

from cuhs.data.head_shoulder_boxes import Box
from cuhs.data.keypoints import coco_box
from cuhs.errors import CuhsError

# A crop shows somebody: a person found with less than an even chance is more likely something else.
PERSON = 0.5


def keypoint_rcnn(weights: str) -> nn.Module:
    """Keypoint R-CNN (He et al., ICCV 2017) with a ResNet-50 and FPN, in evaluation mode.

    Args:
        weights: ``coco`` for torchvision's (226 MB, downloaded once), or a file with their state dict.

    Raises:
        CuhsError: the weights cannot be downloaded, read, or do not fit.
    """
    if weights == "coco":
        try:
            return keypointrcnn_resnet50_fpn(weights="COCO_V1").eval()
        except OSError as error:
            raise CuhsError(
                f"torchvision's weights of Keypoint R-CNN cannot be downloaded ({error}); "
                "name a file of them, or give boxes or key points as a file"
            ) from error
    model = keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    try:
        model.load_state_dict(torch.load(Path(weights), map_location="cpu", weights_only=True))
    except FileNotFoundError as error:
        raise CuhsError(f"{weights}: no such file of weights") from error
    except Exception as error:  # torch raises half a dozen types for a file that is no such state dict
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CuhsError(f"{weights}: not weights of Keypoint R-CNN ({reason})") from error
    return model.eval()


@torch.no_grad()
def keypoint_boxes(images: Iterable[np.ndarray], model: nn.Module) -> Iterator[Box | None]:
    """The head-shoulder box of the person found with most certainty in each image, by :func:`coco_box`.

    Args:
        images: (H, W, 3) uint8 RGB, of any sizes; one at a time goes through the model, on its device.
        model: from :func:`keypoint_rcnn`; (3, H, W) float images to ``scores`` (P,), best first,
            ``keypoints`` (P, 17, 3) and ``keypoints_scores`` (P, 17), the heat map's logits.

    Yields:
        x1 y1 x2 y2 in pixels, or None where nobody is found or the points needed are not.
    """
    device = next(model.parameters()).device
    for image in images:
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1).float() / 255
        yield _box(model([pixels])[0])


def _box(found: dict[str, Tensor]) -> Box | None:
    if len(found["scores"]) == 0 or found["scores"][0] < PERSON:
        return None
    points = found["keypoints"][0].cpu().numpy().astype(float)
    # The model calls every point visible; a logit above 0 says that it answers to the place it is put at.
    points[:, 2] = found["keypoints_scores"][0].cpu().numpy() > 0
    return coco_box(points)
