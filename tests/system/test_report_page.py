"""The evaluation's report in a real browser: filters by mouse and keyboard, nothing fetched, nothing cut off."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from cuhs.evaluation import figures, report
from cuhs.evaluation.examples import Look, examples
from cuhs.evaluation.features import Features
from cuhs.evaluation.groups import evaluate_groups
from cuhs.evaluation.intervals import Difference

pytestmark = pytest.mark.system

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of 24 queries in two groups, one of which finds its match only at the very end."""
    rng = np.random.default_rng(0)
    count = 24
    pids = np.array([f"made/{i:04d}" for i in range(count)])
    groups = [["all", "black" if i % 2 else "white"] for i in range(count)]
    vectors = rng.normal(size=(count, 16)).astype(np.float32)

    def split(values: np.ndarray, camera: str) -> Features:
        names = [f"{camera}/{pid.rpartition('/')[2]}.jpg" for pid in pids]
        return Features(values, pids, np.full(count, camera), names, groups)

    found = vectors + 0.9 * rng.normal(size=vectors.shape).astype(np.float32)
    found[1] = -9 * vectors[1]
    query, gallery = split(vectors, "c1"), split(found, "c2")
    evaluated = evaluate_groups(query, gallery, resamples=200)

    def picture(row: int) -> Image.Image:
        return Image.fromarray(np.random.default_rng(row).integers(0, 255, (96, 40, 3), dtype=np.uint8))

    shown = {
        name: [
            report_example(example, picture) for example in examples(query, gallery, group, picture, picture, k=10)
        ]
        for name, group in evaluated.items()
    }
    target = tmp_path_factory.mktemp("report") / "report.html"
    report.write(
        target,
        title="cuhs on made",
        groups={name: group.metrics for name, group in evaluated.items()},
        dataset={"name": "made"},
        parameters={"train": {"epochs": 3}},
        provenance={"git commit": "4f1c0de"},
        cmc=figures.cmc_curves(evaluated),
        comparisons={"a run with a rather long name": [("all", count, Difference(0.03, 0.01, 0.05, 0.004))]},
        examples=shown,
    )
    return target


def report_example(example, picture):
    from dataclasses import replace

    return replace(example, looks=[Look(name, picture(1), picture(2)) for name in ("localised", "bn", "in1")])


@pytest.fixture(scope="module")
def page(path: Path) -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.asked = []  # type: ignore[attr-defined]
        page.errors = []  # type: ignore[attr-defined]
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
        page.goto(path.as_uri())
        yield page
        browser.close()


def visible(page: Page) -> list[str]:
    shown = page.locator("article.example:visible")
    return [str(shown.nth(i).get_attribute("class")) for i in range(shown.count())]


def test_it_opens_from_disk_and_fetches_nothing(page: Page) -> None:
    assert page.title() == "cuhs on made"
    assert not page.errors
    assert {url.partition(":")[0] for url in page.asked} <= {"file", "data"}


def test_the_first_groups_lists_are_shown_and_a_click_shows_anothers(page: Page) -> None:
    assert len(visible(page)) == 6 and all("of-1" in name for name in visible(page))
    page.get_by_text("black", exact=True).last.click()
    assert len(visible(page)) == 6 and all("of-2" in name for name in visible(page))
    page.get_by_text("worst", exact=True).first.click()
    assert visible(page) == ["example of-2 worst"] * 2


def test_the_filters_work_by_keyboard(page: Page) -> None:
    page.locator("#kind-every").focus()
    page.keyboard.press("Space")
    page.locator("#group-1").focus()
    page.keyboard.press("Space")
    assert len(visible(page)) == 6 and all("of-1" in name for name in visible(page))
    page.keyboard.press("ArrowRight")
    assert all("of-2" in name for name in visible(page))


def test_the_lost_match_is_shown_with_its_rank(page: Page) -> None:
    page.locator("#group-1").check(force=True)
    far = page.locator("article.example:visible li.hit.far")
    assert far.count() >= 1
    assert int(far.first.inner_text().split()[0].strip("…")) > 10


def test_what_each_stream_looks_at_opens_beside_its_query(page: Page) -> None:
    first = page.locator("article.example:visible").first
    assert not first.get_by_alt_text("bn on the query").is_visible()
    first.locator("summary").click()
    assert first.get_by_alt_text("bn on the query").is_visible()
    assert first.get_by_alt_text("in1 on its first true match").is_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_sticks_out_of_the_page(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
