"""The registered model behind MLflow's own scoring server: images in, embeddings out, as HTTP."""

import base64
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from cuhs.data.dataset import PersonImages, collate
from cuhs.export import load
from infra.local.processes import kill_tree
from infra.local.seaweed import free_ports
from pipelines.tracking.registry import Registry
from tests.system.project import Project, wait_for

pytestmark = [pytest.mark.system, pytest.mark.long]


@pytest.fixture(scope="module")
def champion(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the champion as the registry gives it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project.folder / 'mlflow.db'}")
        champion = Registry(project.json("reports/registration.json")["model"]).champion()
        folder = tmp_path_factory.mktemp("champion")
        champion.download(folder)
        return folder


@pytest.fixture(scope="module")
def server(champion: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address that embeddings are asked of; what is served may read no pickle."""
    folder = tmp_path_factory.mktemp("serving")
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(model_folder(champion))]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            # Not the project's: what is served has its own copy of the library.
            cwd=folder,
            env={**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
    try:
        wait_for(lambda: answer(f"{url}/ping")[0] == 200, process, seconds=120)
        yield f"{url}/invocations"
    finally:
        kill_tree(process.pid)
        process.wait(10)


def model_folder(champion: Path) -> Path:
    return next(champion.rglob("MLmodel")).parent


def answer(url: str, images: list[bytes] | None = None) -> tuple[int, str]:
    """Status and body; of a GET without images."""
    table = {"columns": ["image"], "data": [[base64.b64encode(image).decode()] for image in images or []]}
    body = None if images is None else json.dumps({"dataframe_split": table}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def test_served_embeddings_are_those_of_the_library(server: str, champion: Path, project: Project) -> None:
    images = PersonImages(project.folder / "data/dataset", "query", 64, 32)
    # More than the model takes at once.
    rows = [i % len(images) for i in range(40)]
    status, body = answer(server, [images.encoded(row) for row in rows])
    assert status == 200, body
    network, card = load(next(champion.rglob("model.safetensors")).parent)
    assert (card.height, card.width) == (64, 32)
    # In the same batches: sums of others differ in their last bits.
    with torch.inference_mode():
        parts = [collate([images[row] for row in part]) for part in (rows[:32], rows[32:])]
        own = np.concatenate([network.embed(part.inputs(torch.device("cpu"))[0]) for part in parts])
    served = np.array(json.loads(body)["predictions"], np.float32)
    assert served.shape == own.shape
    # With other threads sums come in another order, and instance normalisation enlarges what differs.
    np.testing.assert_allclose(served, own, atol=1e-3)


@pytest.mark.parametrize(("data", "why"), [(b"no picture", "not an image"), (b"", "empty file")])
def test_a_corrupt_image_is_said_in_one_clear_line(server: str, project: Project, data: bytes, why: str) -> None:
    whole = PersonImages(project.folder / "data/dataset", "query", 64, 32).encoded(0)
    status, body = answer(server, [whole, data])
    assert status == 400
    # MLflow shows the table before it.
    assert json.loads(body)["message"].splitlines()[-1] == f"Error: image 1: {why}"
    assert "Traceback" not in body


def test_the_model_is_kept_without_pickle(champion: Path) -> None:
    files = [path.relative_to(champion).as_posix() for path in champion.rglob("*") if path.is_file()]
    assert any(name.endswith("model.safetensors") for name in files)
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib"))]
    assert not [name for name in files if (champion / name).read_bytes()[:1] == b"\x80"]
