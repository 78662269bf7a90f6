import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cuhs.build.report.histograms import bin_edges, images_per_camera, images_per_identity
from cuhs.build.report.page import counts_table
from cuhs.build.splits import Row
from cuhs.raw.config import Source
from cuhs.raw.records import RawImage, Sample, Split

Market = Callable[[Path], Source]
Built = Callable[..., dict]


class Page(HTMLParser):
    """The elements of a page: tags with attributes, and the text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in {"meta", "img", "br", "path", "use", "rect"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"meta", "img", "br", "path", "use", "rect"}:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_the_page_needs_nothing_from_outside_and_escapes_names(tmp_path: Path, market: Market, built: Built) -> None:
    built({"m": market(tmp_path / "raw")}, name="<b>&shop")
    page = Page(tmp_path / "out/dataset.html")
    assert page.open == []
    assert "<b>&shop" in page.text and len(page.named("h1")) == 1
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.elements}
    assert all((image["src"] or "").startswith("data:image/jpeg;base64,") for image in page.named("img"))
    assert not re.search(r"@import|url\((?!#)", (tmp_path / "out/dataset.html").read_text())
    assert "default-src 'none'" in str(page.named("meta"))


def test_the_page_shows_people_with_boxes_in_every_group_and_two_histograms(
    tmp_path: Path, market: Market, built: Built
) -> None:
    built({"m": market(tmp_path / "raw")})
    page = Page(tmp_path / "out/dataset.html")
    shown = [str(image["alt"]) for image in page.named("img")]
    # Two people query in all groups together and one each in black and white; two train; pairs come on top.
    assert shown[:4] == [f"m/query/000{pid}_c1s1_000001_00.jpg" for pid in (3, 4, 3, 4)]
    assert shown[4:6] == [f"m/bounding_box_train/000{pid}_c1s1_000001_01.jpg" for pid in (1, 2)]
    assert len(page.named("svg")) == 2
    assert "Check before you train" in page.text and "absent.jpg" in page.text


def test_the_table_has_a_line_for_each_group_and_source(tmp_path: Path, market: Market, built: Built) -> None:
    table = counts_table(built({"m": market(tmp_path / "raw")}))
    lines = list(zip(*(column._cells for column in table.columns), strict=True))
    assert lines[0] == ("all", "2", "4", "2", "2", "2", "5")
    assert [line[0] for line in lines] == ["all", "black", "white", "m"]


def row(pid: int, camid: int | None, split: Split, number: int) -> Row:
    return Row(Sample("s", RawImage(f"{split}/{number}.jpg", pid, camid, split), "other"), split, ("all",))


def test_histograms_are_the_same_text_for_the_same_rows_and_name_every_camera() -> None:
    rows = [row(1 + n // 4, 1 + n % 12, "train", n) for n in range(40)]
    rows += [row(50 + n // 3, None, "gallery", n) for n in range(9)]
    for draw in (images_per_identity, images_per_camera):
        assert draw(rows) == draw(list(rows))
        assert draw(rows).startswith("<svg") and draw(rows).rstrip().endswith("</svg>")
    text = images_per_camera(rows)
    labels = re.findall(r">(s[/,][^<]*)<", text)
    assert labels == ["s, no camera id", *(f"s/{n}" for n in range(12, 0, -1))] or labels == [
        *(f"s/{n}" for n in range(12, 0, -1)),
        "s, no camera id",
    ]
    assert "train, median 4" in images_per_identity(rows) and "median 3" in images_per_identity(rows)


@pytest.mark.parametrize("most", [1, 39, 40, 41, 500])
def test_every_number_of_images_is_in_one_of_few_bins(most: int) -> None:
    edges = bin_edges(most)
    assert edges[0] < 1 and most < edges[-1] and len(edges) <= 41
    assert all(edge % 1 == 0.5 for edge in edges)
