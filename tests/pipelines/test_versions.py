import json
from pathlib import Path

import pytest

from cuhs.errors import CuhsError
from pipelines import versions


def test_a_run_name_changes_with_any_input_and_with_nothing_else() -> None:
    name = versions.run_name("train", data="a", train={"lr": 0.1, "epochs": 3})
    assert name == versions.run_name("train", train={"epochs": 3, "lr": 0.1}, data="a")
    assert name.startswith("train-")
    others = [
        versions.run_name("train", data="b", train={"lr": 0.1, "epochs": 3}),
        versions.run_name("train", data="a", train={"lr": 0.1, "epochs": 4}),
        versions.run_name("hsl", data="a", train={"lr": 0.1, "epochs": 3}),
    ]
    assert len({name, *others}) == 4


def test_the_data_version_is_the_built_datasets(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"version": "abc"}))
    assert versions.data_version(tmp_path) == "abc"
    with pytest.raises(CuhsError, match="build the dataset first"):
        versions.data_version(tmp_path / "absent")


def test_the_code_version_is_stable_and_a_commit_is_known() -> None:
    assert versions.code_version() == versions.code_version()
    commit, _ = versions.git_commit()
    assert commit == "" or len(commit) == 40
