"""YAML files hold plain values, or are refused in one short line that names the place."""

from pathlib import Path

import pytest

from cuhs.errors import CuhsError
from pipelines.base.yaml_files import read_yaml

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))


def refusal(path: Path) -> str:
    with pytest.raises(CuhsError) as error:
        read_yaml(path, "run from the project's root")
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    return str(error.value)


def test_plain_values_are_read(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("a: {b: [1, 0.5, yes, ~, é, -9223372036854775808]}", encoding="utf-8")
    assert read_yaml(tmp_path / "f", "") == {"a": {"b": [1, 0.5, True, None, "é", -(2**63)]}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAUGHS, "the alias \\*a0 is refused"),
        ("&a [*a]", "the alias \\*a is refused"),
        ("[" * 5000, "nested too deeply"),
        ("a: " + "9" * 5000, "no value of its kind"),
        ("a: 0x" + "f" * 5000, "no value of its kind"),
        ("a: 2024-02-30", "'2024-02-30' is no value of its kind"),
        ("{[a]: b}", "unhashable"),
        ("x" * 2**21, "cannot be read as text"),
        ("a: " + "'" + "x" * 10**6, "not valid YAML"),
        ("a: !!python/object/apply:os.system [id]", "not valid YAML"),
        ("a: \x00", "not valid YAML"),
    ],
)
def test_anything_else_is_one_short_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    line = refusal(path)
    assert line.startswith(f"{path}: ")
    with pytest.raises(CuhsError, match=said):
        read_yaml(path, "")


def test_bytes_that_are_no_text_and_a_folder_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"a: \xff")
    assert "cannot be read as text" in refusal(tmp_path / "f")
    assert "cannot be read as text (a folder)" in refusal(tmp_path)
    assert refusal(tmp_path / "none") == f"{tmp_path / 'none'}: missing; run from the project's root"
