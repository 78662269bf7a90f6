"""Head-shoulder boxes of images without annotations, detected by torchvision's Keypoint R-CNN."""

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

# Least score of a detected person. Every crop shows somebody, so a less likely detection is probably not the person.
PERSON = 0.5

# Length in pixels that a crop's longest side is resized to. At torchvision's default of 1,333 a person would be
# larger than the detector's largest anchors (512 pixels), and detection would take 3.4 times as long.
LONGEST = 640


def keypoint_rcnn(weights: str) -> nn.Module:
    """Load Keypoint R-CNN (He et al., ICCV 2017) with ResNet-50 and FPN, in evaluation mode, on a GPU if possible.

    Args:
        weights: ``coco`` for torchvision's weights (226 MB, downloaded once), or a file with their state dict.

    Raises:
        CuhsError: the weights cannot be downloaded or read, or do not fit.
    """
    # A crop is about one person, so key points are computed only for the detection with the highest score.
    options = {"min_size": LONGEST, "max_size": LONGEST, "box_detections_per_img": 1}
    if weights == "coco":
        try:
            model = keypointrcnn_resnet50_fpn(weights="COCO_V1", **options)
        except (OSError, RuntimeError) as error:  # RuntimeError: the downloaded file has the wrong digest
            raise CuhsError(
                f"torchvision's weights of Keypoint R-CNN cannot be downloaded ({error}); name a weights file, or "
                "use the fixed box (fixed_box: true)"
            ) from error
    else:
        model = keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None, **options)
        model.load_state_dict(_read(model, weights))
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def _read(model: nn.Module, weights: str) -> dict[str, Tensor]:
    """Read a state dict from a file and check that it fits."""
    try:
        state: dict[str, Tensor] = torch.load(Path(weights), map_location="cpu", weights_only=True)
        if unfit := [name for name, value in model.state_dict().items() if state[name].shape != value.shape]:
            raise ValueError(f"{unfit[0]} has another shape")
        return state
    except FileNotFoundError as error:
        raise CuhsError(
            f"{weights}: no such weights file; save torchvision's keypointrcnn_resnet50_fpn (COCO_V1) there, or "
            "use the fixed box (fixed_box: true)"
        ) from error
    except Exception as error:  # torch raises many types for a file that is not such a state dict
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CuhsError(f"{weights}: not weights of Keypoint R-CNN ({reason})") from error


@torch.no_grad()
def keypoint_boxes(images: Sequence[np.ndarray], model: nn.Module) -> list[Box | None]:
    """Compute the head-shoulder box of each image's most certain person, by :func:`.keypoints.coco_box`.

    Args:
        images: (H, W, 3) uint8 RGB, of any sizes; all go through the model together, on its device. Images are
            padded to the largest, which moves boxes slightly; the same batch gives the same boxes.
        model: result of :func:`keypoint_rcnn`. Maps (3, H, W) float images to ``scores`` (P,), best first,
            ``keypoints`` (P, 17, 3) and ``keypoints_scores`` (P, 17), the logits of the heat maps.

    Returns:
        x1 y1 x2 y2 in pixels; None if no person is detected or the box's key points are missing.
    """
    device = next(model.parameters()).device
    batch = [torch.from_numpy(image.copy()).to(device).permute(2, 0, 1).float() / 255 for image in images]
    return [_box(found) for found in model(batch)]


def _box(found: dict[str, Tensor]) -> Box | None:
    if len(found["scores"]) == 0 or found["scores"][0] < PERSON:
        return None
    points = found["keypoints"][0].cpu().numpy().astype(float)
    # The model marks every point as visible. A logit above 0 means that the heat map supports the point.
    points[:, 2] = found["keypoints_scores"][0].cpu().numpy() > 0
    return keypoints.coco_box(points)


def version_of(model: nn.Module) -> str:
    """Return a digest of the weights and the rule; boxes of earlier builds are reused if it is the same."""
    code = "".join(inspect.getsource(module) for module in (sys.modules[__name__], keypoints))
    digest = hashlib.blake2b(f"{torchvision.__version__} {code}".encode(), digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
