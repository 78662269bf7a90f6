from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import keypointrcnn_resnet50_fpn

from cuhs.build.boxes import detector as keypoint_detector
from cuhs.build.boxes.detector import keypoint_boxes, keypoint_rcnn, version_of
from cuhs.errors import CuhsError
from cuhs.raw.keypoints import coco_box

IMAGE = np.full((40, 20, 3), 128, dtype=np.uint8)


class Finds(nn.Module):
    """A model that finds the same people in every image."""

    def __init__(self, scores: list[float], points: np.ndarray, logits: list[float]) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.scores, self.points, self.logits = scores, points, logits
        self.seen: list[Tensor] = []

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        self.seen += images
        return [
            {
                "scores": torch.tensor(self.scores),
                "keypoints": torch.from_numpy(self.points).float(),
                "keypoints_scores": torch.tensor([self.logits] * len(self.scores)),
            }
            for _ in images
        ]


def people() -> np.ndarray:
    points = np.zeros((2, 17, 3))
    points[..., 2] = 1
    points[:, :5, :2], points[:, 5, :2], points[:, 6, :2] = (10, 10), (15, 20), (5, 20)
    points[1, 5:7, 1] = 30
    return points


def test_the_surest_person_gives_the_box() -> None:
    model = Finds([0.9, 0.8], people(), [1.0] * 17)
    assert keypoint_boxes([IMAGE, IMAGE], model) == [pytest.approx(coco_box(people()[0]))] * 2
    assert model.seen[0].shape == (3, 40, 20) and model.seen[0].max() == pytest.approx(128 / 255)


def test_nobody_a_doubtful_person_and_missing_shoulders_give_no_box() -> None:
    assert keypoint_boxes([IMAGE], Finds([], people()[:0], [])) == [None]
    assert keypoint_boxes([IMAGE], Finds([0.4, 0.3], people(), [1.0] * 17)) == [None]
    assert keypoint_boxes([IMAGE], Finds([0.9, 0.3], people(), [1.0] * 5 + [-1.0] + [1.0] * 11)) == [None]


def test_torchvision_s_model_answers_in_the_form_that_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = keypointrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, min_size=64, max_size=96, box_score_thresh=0.0, box_detections_per_img=3
    ).eval()
    found = []
    monkeypatch.setattr(keypoint_detector, "PERSON", 0.0)
    monkeypatch.setattr(keypoint_detector.keypoints, "coco_box", lambda points: found.append(points))
    assert keypoint_boxes([IMAGE, IMAGE[:30]], model) == [None, None]
    assert all(points.shape == (17, 3) and set(points[:, 2]) <= {0, 1} for points in found) and len(found) == 2


def test_a_file_of_weights_is_loaded_and_boxes_are_known_to_be_of_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    given = keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    torch.save(given.state_dict(), tmp_path / "w.pth")
    model = keypoint_rcnn(str(tmp_path / "w.pth"))
    assert not model.training
    weight = "roi_heads.keypoint_predictor.kps_score_lowres.weight"
    torch.testing.assert_close(model.state_dict()[weight].cpu(), given.state_dict()[weight])
    before = version_of(model)
    assert version_of(model) == before
    with torch.no_grad():
        model.get_parameter(weight)[0, 0, 0, 0] += 1
    assert version_of(model) != before

    state = given.state_dict() | {weight: torch.zeros(1)}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(CuhsError, match=rf"w\.pth: not weights of Keypoint R-CNN \({weight} has another shape\)"):
        keypoint_rcnn(str(tmp_path / "w.pth"))


def test_weights_that_cannot_be_had_are_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(weights: str | None, **options: object) -> nn.Module:
        if weights:
            raise URLError("no route")
        return keypointrcnn_resnet50_fpn(weights=None, **options)

    (tmp_path / "w.pth").write_bytes(b"no weights")
    with pytest.raises(CuhsError, match=r"w\.pth: not weights of Keypoint R-CNN") as caught:
        keypoint_rcnn(str(tmp_path / "w.pth"))
    assert "\n" not in str(caught.value)
    with pytest.raises(CuhsError, match=r"gone\.pth: no such weights file.*fixed_box: true"):
        keypoint_rcnn(str(tmp_path / "gone.pth"))
    monkeypatch.setattr(keypoint_detector, "keypointrcnn_resnet50_fpn", offline)
    with pytest.raises(CuhsError, match=r"cannot be downloaded \(.*no route.*\); name a weights file"):
        keypoint_rcnn("coco")
