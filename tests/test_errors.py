"""What messages quote is short, whatever was written."""

from cuhs.errors import VALUE, cut, quoted


def test_text_is_on_one_line_and_cut() -> None:
    assert cut("a\n  b") == "a b"
    assert cut("x" * 200) == "x" * 200 and cut("x" * 201) == "x" * 199 + "…"
    assert len(cut("x\n" * 10**6)) == 200 and cut(" " * 10**6 + "x").endswith("…")


def test_a_short_value_is_written_as_in_python() -> None:
    for value in ("ten", 2.5, None, ["cuhk03"], {"a": [1, 2]}, -(10**20), True):
        assert quoted(value) == repr(value)


def test_any_other_value_is_cut() -> None:
    nested: list[object] = []
    for _ in range(50_000):
        nested = [nested]
    for value in ("x" * 10**7, nested, [[list(range(99))] * 99] * 99, 16**10_000, {"k" * 10**6: 1}, b"\n" * 10**6):
        assert len(quoted(value)) <= VALUE and "\n" not in quoted(value)
