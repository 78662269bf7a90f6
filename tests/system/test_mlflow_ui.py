"""MLflow's own UI in a real browser: two of several evaluated models, side by side."""

import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from cuhs.evaluation.features import Features
from cuhs.evaluation.groups import evaluate_groups
from infra.local.mlflow_server import MlflowServer
from pipelines.commands.ui import address
from pipelines.tracking.mlflow_store import experiment_id
from pipelines.tracking.run import Run

pytestmark = [pytest.mark.system, pytest.mark.long]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Of this test alone: others use the server too.
EXPERIMENT = "variants"
# How far a variant's gallery is from its queries.
NOISE = {"cuhs": 0.9, "bn": 1.1, "baseline": 1.5, "one_in": 1.0}


def evaluation(noise: float) -> dict[str, float | None]:
    """Measures of 24 queries in two groups, by the names that the evaluation logs them under."""
    rng = np.random.default_rng(0)
    pids = np.array([f"made/{i:04d}" for i in range(24)])
    groups = [["all", "black" if i % 2 else "white"] for i in range(24)]

    def split(values: np.ndarray, camera: str) -> Features:
        return Features(values, pids, np.full(24, camera), [*pids], groups)

    vectors = rng.normal(size=(24, 16)).astype(np.float32)
    found = vectors + noise * rng.normal(size=vectors.shape).astype(np.float32)
    evaluated = evaluate_groups(split(vectors, "c1"), split(found, "c2"), resamples=100)
    return {f"{name}/{key}": value for name, group in evaluated.items() for key, value in group.metrics.items()}


@pytest.fixture(scope="module")
def black() -> dict[str, float | None]:
    """``black/mAP`` of each variant, filled by :func:`server`."""
    return {}


@pytest.fixture(scope="module")
def server(
    mlflow_server: MlflowServer, tmp_path_factory: pytest.TempPathFactory, black: dict[str, float | None]
) -> MlflowServer:
    """The server, which knows four evaluated models and a localiser, written as the stages write them."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("ui"))
        patch.setenv("MLFLOW_TRACKING_URI", mlflow_server.url)
        localiser = Run.start(EXPERIMENT, "localiser: fg_synth", {"cuhs.kind": "hsl"}, {"variant": "cuhs"})
        localiser.history([{"loss": 0.1, "iou": 0.7}])
        localiser.finish()
        for variant, noise in NOISE.items():
            params = {"variant": variant, "train": {"epochs": 3, "lr": 0.002}}
            tags = {"cuhs.kind": "model", "cuhs.variant": variant}
            run = Run.start(EXPERIMENT, f"model: fg_synth {variant}", tags, params)
            run.history([{"loss": 9.0 / (epoch + 1), "images_per_second": 80.0} for epoch in range(3)])
            measures = evaluation(noise)
            run.metrics(measures)
            run.finish()
            black[variant] = measures["black/mAP"]
    return mlflow_server


@pytest.fixture(scope="module")
def page(server: MlflowServer) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(30_000)
        expect.set_options(timeout=30_000)
        yield page
        browser.close()


def middle(shown: Locator) -> tuple[float, float]:
    box = shown.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_two_models_are_compared_in_a_few_clicks(
    server: MlflowServer, page: Page, black: dict[str, float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    assert len(set(black.values())) == len(NOISE)
    # What `make ui` prints opens a browser that was never here at the runs of model training, best first.
    page.goto(address(server.url, experiment_id(EXPERIMENT)))
    expect(page.get_by_role("link", name="fg_synth").first).to_have_text("model: fg_synth cuhs")
    assert black["cuhs"] == max(black.values())
    for variant in ("cuhs", "baseline"):
        named = page.get_by_role("link", name=f"model: fg_synth {variant}", exact=True)
        page.get_by_role("row").filter(has=named).get_by_role("checkbox", name="row selection").check()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text("Comparing 2 Runs from 1 Experiment")).to_be_visible()

    # The table of measures is a window of its own, sorted by name; it turns with the mouse over its values.
    measure = page.get_by_role("link", name="black/mAP", exact=True)
    first = page.get_by_role("link", name="all/mAP", exact=True)
    first.scroll_into_view_if_needed()
    columns = {v: middle(page.get_by_text(f"model: fg_synth {v}", exact=True).first)[0] for v in ("cuhs", "baseline")}
    apart = columns["baseline"] - columns["cuhs"]
    assert apart > 200
    top = middle(first)[1]
    page.mouse.move(columns["cuhs"], top)
    for _ in range(60):
        if measure.count() and middle(measure)[1] < top + 200:
            break
        page.mouse.wheel(0, 50)
        page.wait_for_timeout(100)
    # Names are one turn of the wheel behind values.
    for _ in range(2):
        page.mouse.wheel(0, 1)
        page.wait_for_timeout(300)
    for variant, column in columns.items():
        shown = [middle(value) for value in page.get_by_text(f"{round(black[variant], 2):g}", exact=True).all()]
        assert any(abs(x - column) < apart / 2 and abs(y - middle(measure)[1]) < 10 for x, y in shown), variant
