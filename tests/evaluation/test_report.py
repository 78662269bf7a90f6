import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cuhs.evaluation import report
from cuhs.evaluation.examples import Example, Found, Look
from cuhs.evaluation.intervals import Difference
from cuhs.evaluation.thresholds import OperatingPoint


def measures(mean):
    keys = ("mAP", "mINP", "rank1")
    values = {
        k: v for key in keys for k, v in ((key, mean), (f"{key}_low", mean - 4.5), (f"{key}_high", mean + 3.25))
    }
    return values | {"queries": 120, "identities": 31, "queries_without_match": 2, "gallery": 900}


def nothing():
    return dict.fromkeys(measures(0), None) | {
        "queries": 0,
        "identities": 0,
        "queries_without_match": 1,
        "gallery": 0,
    }


def curve():
    figure = Figure(figsize=(3, 2))
    figure.add_subplot().plot([0, 1, 4])
    return figure


def pixels():
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8))


def example(kind, hit):
    """A list of two, or of three where the true match is lost; with two looks."""
    found = [Found(rank, rank == hit, "made/0001" if rank == hit else "made/0002", rank, pixels()) for rank in (1, 2)]
    if hit > 2:
        found.append(Found(hit, True, "made/0001", 7, pixels()))
    looks = [Look(name, pixels(), pixels()) for name in ("bn", "in1")]
    return Example(kind, "made/0001", f"{kind} <u>.jpg", 0, 1 / hit, pixels(), found, looks)


@pytest.fixture
def contents():
    return {
        "title": "CUHS <script>alert(1)</script> & co",
        "groups": {"all": measures(71.25), "black & <b>white": measures(64.0), "distant": nothing()},
        "dataset": {
            "name": "fg_synth",
            "train": {"images": 750, "cameras": ["a", "b"]},
            "files": ["x"] * 400,
        },
        "parameters": {"network": {"top_k": 4, "init": None}, "train": {"milestones": (40, 70)}},
        "provenance": {"commit": "4f1c0de", "MLflow run": "0123abcd", "server": "http://localhost:5000"},
        "cmc": curve(),
        "comparisons": {
            "BN <i>": [
                ("all", 120, Difference(0.042, 0.011, 0.073, 0.008)),
                ("black", 9, Difference(-0.1, -0.2, 0.1, 0.4)),
            ]
        },
        "examples": {"all": [example("best", hit=1)], "black & <b>white": [example("worst", hit=900)], "distant": []},
        "roc": curve(),
        "thresholds": [(1e-3, OperatingPoint(0.8125, 0.0009, 0.75, 41))],
        "slices": {"source": {"made": measures(30.0), "other": nothing()}},
        "training_curves": curve(),
        "contact_sheet": pixels(),
    }


class Page(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.cells, self._row = [], None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
            self._row = self.cells[-1]

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._row = None

    def handle_data(self, data):
        self.text += data
        if self._row is not None:
            self._row[-1] = " ".join((self._row[-1] + " " + data).split())


def written(tmp_path, contents):
    path = tmp_path / "new" / "report.html"
    report.write(path, **contents)
    return path.read_text(encoding="utf-8")


def test_table_has_each_group_with_its_intervals(tmp_path, contents):
    rows = Page(written(tmp_path, contents)).cells
    assert rows[0] == ["Group", "mAP, %", "mINP, %", "Rank-1, %", "Queries", "Identities", "Gallery"]
    number = "71.2 66.8 to 74.5"
    assert rows[1] == ["all", number, number, number, "120 and 2 unmatched", "31", "900"]
    assert rows[2][:2] == ["black & <b>white", "64.0 59.5 to 67.2"]
    assert rows[3] == ["distant", "–", "–", "–", "0 and 1 unmatched", "0", "0"]


def test_a_comparison_has_its_difference_interval_and_p(tmp_path, contents):
    page = Page(written(tmp_path, contents))
    assert ["all", "+4.2", "+1.1 to +7.3", "0.0080", "120"] in page.cells
    assert ["black", "-10.0", "-20.0 to +10.0", "0.4000", "9"] in page.cells
    assert "Compared with BN <i>" in page.text
    classes = [value for tag, name, value in page.attributes if (tag, name) == ("td", "class")]
    assert classes == ["better", ""], "coloured only where the interval excludes zero"


def test_slices_and_thresholds_have_their_rows(tmp_path, contents):
    cells = Page(written(tmp_path, contents)).cells
    assert ["By source", "mAP, %", "Rank-1, %", "Queries"] in cells
    assert ["made", "30.0 25.5 to 33.2", "30.0 25.5 to 33.2", "120"] in cells
    assert ["other", "–", "–", "0"] in cells
    assert ["1 in 1,000", "0.8125", "75.0"] in cells


def test_lists_frame_hits_and_misses_and_show_the_lost_match_with_its_rank(tmp_path, contents):
    page = Page(written(tmp_path, contents))
    cells = [value for tag, name, value in page.attributes if (tag, name) == ("li", "class")]
    assert cells == ["query", "hit", "miss", "query", "miss", "miss", "hit far"]
    assert "900 ✓" in page.text and "(rank 900)" in page.text
    marks = [value for tag, name, value in page.attributes if (tag, name) == ("article", "class")]
    assert marks == ["example of-1 best", "example of-2 worst"]


def test_report_asks_nothing_of_the_network_and_runs_nothing(tmp_path, contents):
    html = written(tmp_path, contents)
    page = Page(html)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    addresses = [v for _, name, v in page.attributes if name in ("src", "href", "srcset", "poster", "data", "action")]
    assert len(addresses) == 4 + 3 + 4 + 4 + 4
    assert all(address.startswith("data:image/webp;base64,") for address in addresses)
    assert "url(" not in html and "@import" not in html and "https://" not in html
    # The one address in the page is a value that was passed in, shown as text.
    assert html.count("http://") == 1 and "http://localhost:5000" in page.text
    assert "default-src 'none'" in html


def test_pictures_are_whole_and_described(tmp_path, contents):
    page = Page(written(tmp_path, contents))
    for _, name, value in page.attributes:
        if name == "src":
            image = Image.open(io.BytesIO(base64.b64decode(value.split(",", 1)[1])))
            image.load()
            assert image.format == "WEBP" and image.width in (390, 60)
    descriptions = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert all(descriptions)
    assert "rank 900, true match, identity made/0001" in descriptions


def test_facts_are_flat_and_long_lists_are_counted(tmp_path, contents):
    text = " ".join(Page(written(tmp_path, contents)).text.split())
    for fact in (
        "commit 4f1c0de",
        "MLflow run 0123abcd",
        "train.images 750",
        "train.cameras a, b",
        "files 400 entries",
        "network.top_k 4",
        "network.init –",
        "train.milestones 40, 70",
    ):
        assert fact in text
    assert "CUHS <script>alert(1)</script> & co" in text


def test_pictures_may_be_missing(tmp_path, contents):
    for name in ("cmc", "roc", "thresholds", "slices", "examples", "comparisons", "training_curves", "contact_sheet"):
        del contents[name]
    page = Page(written(tmp_path, contents))
    assert "img" not in page.tags
    assert page.cells[1][0] == "all"


def test_a_headline_group_without_queries_shows_no_headline(tmp_path, contents):
    contents["groups"] = {"all": nothing()}
    page = Page(written(tmp_path, contents))
    assert ("ul", "class", "headline") not in page.attributes
    assert page.cells[1][:2] == ["all", "–"]


def test_the_same_contents_give_the_same_bytes(tmp_path, contents):
    assert written(tmp_path, contents) == written(tmp_path, contents)
