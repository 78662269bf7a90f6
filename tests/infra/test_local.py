"""The servers on this machine, where they can be looked at without being started."""

import tempfile
from pathlib import Path

import pytest

from infra.local.processes import LONGEST_PATH
from infra.local.ray_cluster import RayCluster


def test_a_cluster_has_short_paths_for_sockets_where_temporary_files_have_a_long_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = tmp_path / ("x" * LONGEST_PATH)
    far.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(far))
    cluster = RayCluster(tmp_path / "logs", {})
    try:
        assert cluster._temporary.parent == Path("/tmp")
    finally:
        cluster.stop()
    assert not cluster._temporary.exists()
