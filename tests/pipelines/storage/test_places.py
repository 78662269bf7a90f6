"""Where workers find files."""

from pathlib import Path

import pytest

from pipelines.storage import places


@pytest.mark.parametrize("variables", [{}, {"RAY_ADDRESS": "127.0.0.1:6379"}, {"CUHS_STORE": "s3://bucket/cuhs"}])
def test_without_a_cluster_and_a_store_files_lie_on_a_shared_disk(
    variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_ADDRESS", "CUHS_STORE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    where = places.place(Path("data/dataset"))
    assert where == str(tmp_path / "data/dataset")
    with places.located({"dataset": where}) as paths:
        assert paths == {"dataset": where}


def test_a_path_with_a_number_sign_stays_a_path() -> None:
    with places.located({"dataset": "/data/set#1"}) as paths:
        assert paths == {"dataset": "/data/set#1"}
