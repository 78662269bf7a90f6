"""The synthesize stage: reads its parameters, writes the folder, fails in one line."""

from pathlib import Path

import pytest
import yaml

from cuhs.errors import CuhsError
from pipelines.base import params
from pipelines.stages import synthesize


def with_parameters(monkeypatch, **values):
    wanted = params.Synthesize.model_validate(values)
    monkeypatch.setattr(params, "load", lambda: type("Loaded", (), {"synthesize": wanted}))


def test_stage_writes_the_four_sources_where_dvc_has_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with_parameters(monkeypatch, seed=3, identities=8, images=32)
    assert synthesize.main([]) == 0
    written = {path.name for path in (tmp_path / "data/fg_synth").iterdir()}
    sources = {"market1501", "cuhk03", "occluded_reid", "partial_reid"}
    assert written == {*sources, "annotations", "contact_sheet.jpg"}
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "8 people" in captured.err


def test_stage_fails_with_one_line_and_code_2(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").write_text("")
    with_parameters(monkeypatch, identities=8, images=32)
    assert synthesize.main([]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"error: {tmp_path}/data/fg_synth: FG-Synth cannot be written there")
    assert message.count("\n") == 1


def test_stage_takes_its_parameters_from_params_yaml(tmp_path, monkeypatch):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({"synthesize": {"identities": 2}}))
    monkeypatch.chdir(Path(tmp_path))
    with pytest.raises(CuhsError, match=r"synthesize\.identities: .*8"):
        synthesize.run()
