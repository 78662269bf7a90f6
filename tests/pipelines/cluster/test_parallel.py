import sys
from types import SimpleNamespace

import pytest

from cuhs.build.parallel import map_on_cores
from pipelines.cluster.parallel import map_on_cluster, mapper


@pytest.mark.parametrize(
    ("address", "running", "expected"),
    [
        (None, None, map_on_cores),
        (None, False, map_on_cores),
        (None, True, map_on_cluster),
        ("ray://head:10001", None, map_on_cluster),
    ],
)
def test_the_cluster_is_taken_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, address: str | None, running: bool | None, expected: object
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    if running is not None:
        monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: running))
    assert mapper() is expected
