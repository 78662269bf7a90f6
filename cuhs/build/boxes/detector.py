"""Head-shoulder boxes of images without annotations, by torchvision's Keypoint R-CNN."""

import hashlib
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import keypointrcnn_resnet50_fpn

from cuhs.errors import CuhsError
from cuhs.raw import keypoints
from cuhs.raw.head_shoulder_boxes import Box

# A crop shows somebody: a person found with less than an even chance is more likely something else.
PERSON = 0.5

# Pixels that a crop is resized to, at its longest side. At torchvision's own 1,333 a crop's person would be larger
# than the detector's largest anchors (512 pixels), and it would take 3.4 times as long.
LONGEST = 640


def keypoint_rcnn(weights: str) -> nn.Module:
    """Keypoint R-CNN (He et al., ICCV 2017) with a ResNet-50 and FPN, in evaluation mode, on a GPU if there is one.

    Args:
        weights: ``coco`` for torchvision's (226 MB, downloaded once), or a file with their state dict.

    Raises:
        CuhsError: the weights cannot be downloaded, read, or do not fit.
    """
    # The person of a crop is one: only who is found with most certainty is looked at for key points.
    options = {"min_size": LONGEST, "max_size": LONGEST, "box_detections_per_img": 1}
    if weights == "coco":
        try:
            model = keypointrcnn_resnet50_fpn(weights="COCO_V1", **options)
        except (OSError, RuntimeError) as error:  # RuntimeError: what was downloaded has another digest
            raise CuhsError(
                f"torchvision's weights of Keypoint R-CNN cannot be downloaded ({error}); name a file of them, or "
                "take the fixed upper part (fixed_box: true)"
            ) from error
    else:
        model = keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None, **options)
        model.load_state_dict(_read(model, weights))
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def _read(model: nn.Module, weights: str) -> dict[str, Tensor]:
    """A file's state dict, if it fits."""
    try:
        state: dict[str, Tensor] = torch.load(Path(weights), map_location="cpu", weights_only=True)
        if unfit := [name for name, value in model.state_dict().items() if state[name].shape != value.shape]:
            raise ValueError(f"{unfit[0]} has another shape")
        return state
    except FileNotFoundError as error:
        raise CuhsError(
            f"{weights}: no such file of weights; save torchvision's keypointrcnn_resnet50_fpn (COCO_V1) there, or "
            "take the fixed upper part (fixed_box: true)"
        ) from error
    except Exception as error:  # torch raises half a dozen types for a file that is no such state dict
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CuhsError(f"{weights}: not weights of Keypoint R-CNN ({reason})") from error


@torch.no_grad()
def keypoint_boxes(images: Sequence[np.ndarray], model: nn.Module) -> list[Box | None]:
    """The head-shoulder box of the person found with most certainty in each image, by :func:`.keypoints.coco_box`.

    Args:
        images: (H, W, 3) uint8 RGB, of any sizes; all go through the model at a time, on its device. Images are
            padded to the largest, which moves boxes a little: the same batch gives the same boxes.
        model: from :func:`keypoint_rcnn`; (3, H, W) float images to ``scores`` (P,), best first,
            ``keypoints`` (P, 17, 3) and ``keypoints_scores`` (P, 17), the heat map's logits.

    Returns:
        x1 y1 x2 y2 in pixels, or None where nobody is found or the points needed are not.
    """
    device = next(model.parameters()).device
    batch = [torch.from_numpy(image.copy()).to(device).permute(2, 0, 1).float() / 255 for image in images]
    return [_box(found) for found in model(batch)]


def _box(found: dict[str, Tensor]) -> Box | None:
    if len(found["scores"]) == 0 or found["scores"][0] < PERSON:
        return None
    points = found["keypoints"][0].cpu().numpy().astype(float)
    # The model calls every point visible; a logit above 0 says that it answers to the place it is put at.
    points[:, 2] = found["keypoints_scores"][0].cpu().numpy() > 0
    return keypoints.coco_box(points)


def version_of(model: nn.Module) -> str:
    """By which boxes found earlier are known to be this model's: a digest of its weights and of the rule."""
    code = "".join(inspect.getsource(module) for module in (sys.modules[__name__], keypoints))
    digest = hashlib.blake2b(f"{torchvision.__version__} {code}".encode(), digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
