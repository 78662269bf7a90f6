"""What a user says of a raw dataset."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from cuhs.config import Config
from cuhs.raw.records import Layout


class Source(Config):
    """A raw dataset on disk: its layout, where it lies, and the annotation files that come with it.

    Attributes:
        layout: the reader to take.
        folder: the publisher's folder.
        images: which of CUHK03's boxes.
        split: CUHK03's split file.
        pattern: what the paths of layout ``pattern`` mean (:func:`cuhs.raw.layouts.pattern.read`).
        clothing: CSV of ``pid,colour``, or ``market_attribute.mat`` as published.
        boxes: CSV of ``file,x1,y1,x2,y2``.
        keypoints: people's key points: a JSON file in COCO's form, or, for layout ``market1501``, the folder with
            the published 14 points.
        detector: weights of a detector of key points: ``coco`` or a file, see
            :func:`cuhs.build.boxes.detector.keypoint_rcnn`.
        fixed_box: give the upper part of the image to people without a box.
        classify: find the colour of people without a label by :mod:`cuhs.build.colours`.
    """

    layout: Layout
    folder: Path
    images: Literal["labeled", "detected"] = "labeled"
    split: Path | None = None
    pattern: str | None = None
    clothing: Path | None = None
    boxes: Path | None = None
    keypoints: Path | None = Field(None, description="for images that `boxes` has no row of")
    detector: str | None = Field(None, description="Keypoint R-CNN for people without a box: coco, or a weights file")
    fixed_box: bool = Field(False, description="the upper third for people who have no box then")
    classify: bool = Field(True, description="find the colour of people without a label; false: they are `other`")

    def below(self, root: Path) -> "Source":
        """The same source, its paths taken from ``root``; ``folder`` is absolute, as workers may run elsewhere."""
        named = ("split", "clothing", "boxes", "keypoints")
        paths: dict[str, Path | str] = {
            name: root / path for name in named if (path := getattr(self, name)) is not None
        }
        if self.detector is not None and self.detector != "coco":
            paths["detector"] = str(root / self.detector)
        return self.model_copy(update={"folder": (root / self.folder).absolute(), **paths})
