import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cuhs.errors import CuhsError
from cuhs.raw.config import Source

Market = Callable[[Path], Source]
Built = Callable[..., dict[str, Any]]

NAMES = ["0001_c1s1_000001_01", "0001_c2s1_000001_01", "0003_c1s1_000001_00", "0003_c2s1_000001_01"]


def annotate(source: Source, boxes: list[str], header: str = "file,x1,y1,x2,y2") -> Source:
    assert source.boxes
    rows = (f"{name}.jpg,{box}" for name, box in zip(NAMES, boxes, strict=True))
    source.boxes.write_text("\n".join((header, *rows)) + "\n")
    return source


def test_boxes_of_resized_copies_are_refused(tmp_path: Path, market: Market, built: Built) -> None:
    # The images are 16×40.
    source = annotate(market(tmp_path / "raw"), ["0,0,32,30", "2,0,30,30", "0,0,28,30", "0,0,16,20"])
    with pytest.raises(CuhsError) as refused:
        built({"m": source})
    assert re.fullmatch(
        r"data\.sources\.m\.boxes: 3 of 4 boxes reach outside their images, such as \S+ in \S+ of 16×40 pixels; "
        "give boxes of these images, not of frames or resized copies",
        str(refused.value),
    )


def test_a_few_boxes_outside_are_clipped_or_dropped_and_listed(tmp_path: Path, market: Market, built: Built) -> None:
    source = annotate(market(tmp_path / "raw"), ["0,0,32,30", "20,0,30,30", "0,0,16,30", "0,0,17,20"])
    summary = built({"m": source})
    assert [item["reason"] for item in summary["dropped_boxes"]] == ["outside the image of 16×40 pixels"]
    assert sum(counted["annotation"] for counted in summary["boxes"].values()) == 3


def test_fractions_become_the_boxes_of_every_image_size(
    tmp_path: Path, market: Market, built: Built, rows: Callable[..., dict[str, dict[str, Any]]]
) -> None:
    boxes = [f"0,0,0.{n},0.5,fraction" for n in (5, 6, 7, 8)]
    built({"m": annotate(market(tmp_path / "raw"), boxes, "file,x1,y1,x2,y2,unit")})
    found = sorted(row["box"][2] for row in rows().values() if row["box"])
    assert found == pytest.approx([0.5, 0.6, 0.7, 0.8])
