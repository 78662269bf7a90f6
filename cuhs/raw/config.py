"""Configuration of a raw dataset."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from cuhs.config import Config
from cuhs.raw.records import Layout


class Source(Config):
    """A raw dataset on disk: its layout, its folder and its annotation files.

    Attributes:
        layout: name of the layout, which selects the reader.
        folder: the publisher's folder.
        images: which of CUHK03's boxes to use.
        split: CUHK03's split file.
        pattern: regular expression for paths of the layout ``pattern`` (see :func:`cuhs.raw.layouts.pattern.read`).
        clothing: CSV of ``pid,colour``, or the published ``market_attribute.mat`` or ``duke_attribute.mat``.
        boxes: CSV of ``file,x1,y1,x2,y2`` in pixels, or with a column ``unit``; see
            :func:`cuhs.raw.head_shoulder_boxes.read_boxes`.
        keypoints: body key points: a JSON file in COCO's form, or for the layout ``market1501`` the folder with the
            published 14 points.
        detector: weights of a key point detector, ``coco`` or a file; see
            :func:`cuhs.build.boxes.detector.keypoint_rcnn`.
        pids_per_split: whether training and testing identities are numbered apart, as in MSMT17: identity 5 is then
            ``train-0005`` or ``test-0005``, also in label files, and 0 is a person.
        fixed_box: whether people without a box get the upper third of the image.
        classify: whether :mod:`cuhs.build.colours` finds the colour of people without a label.
    """

    layout: Layout
    folder: Path
    images: Literal["labeled", "detected"] = "labeled"
    split: Path | None = None
    pattern: str | None = None
    clothing: Path | None = None
    boxes: Path | None = None
    keypoints: Path | None = Field(None, description="key points, for images without a row in `boxes`")
    detector: str | None = Field(None, description="Keypoint R-CNN for people without a box: coco, or a weights file")
    pids_per_split: bool = Field(
        False, description="training and testing identities are both numbered from 0, and are different people"
    )
    fixed_box: bool = Field(False, description="use the upper third for people who still have no box")
    classify: bool = Field(True, description="find the colour of people without a label; false: they are `other`")

    def below(self, root: Path) -> "Source":
        """Resolve the paths against ``root``; ``folder`` becomes absolute, since workers may run elsewhere."""
        named = ("split", "clothing", "boxes", "keypoints")
        paths: dict[str, Path | str] = {
            name: root / path for name in named if (path := getattr(self, name)) is not None
        }
        if self.detector is not None and self.detector != "coco":
            paths["detector"] = str(root / self.detector)
        return self.model_copy(update={"folder": (root / self.folder).absolute(), **paths})
