"""Parameters: whatever cannot be run is one line that names the key, before anything starts."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cuhs.errors import CuhsError
from pipelines.base import params

ROOT = Path(__file__).parents[3]
LEARNED = {"kind": "part", "region": "learned"}


@pytest.fixture
def defaults() -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    return tree


def changed(tree: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    """A copy with one value set; the key is dotted."""
    tree = copy.deepcopy(tree)
    *path, last = key.split(".")
    node = tree
    for name in path:
        node = node[name]
    node[last] = value
    return tree


def refusal(tree: object) -> str:
    """The one line that the parameters are refused with."""
    with pytest.raises(CuhsError) as error:
        params.parse(tree, "params.yaml")
    message = str(error.value)
    assert "\n" not in message
    return message


def test_the_file_is_read_into_one_typed_object(defaults: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(changed(defaults, "train.lr", "5e-4")))
    p = params.load(file)
    assert p.train.lr == 5e-4
    assert p.data.raw == Path("data/fg_synth")
    assert p.network.learned_stream == "head_shoulder"


@pytest.mark.parametrize(("key", "word"), [("compute.gpu", "no"), ("data.name", "on"), ("network.weights", "off")])
def test_a_word_that_yaml_takes_for_true_or_false_is_to_be_quoted(
    defaults: dict[str, Any], key: str, word: str
) -> None:
    line = refusal(changed(defaults, key, yaml.safe_load(word)))
    assert re.search(rf"^params.yaml: {key}: .*, got (True|False) \(YAML .*; put the word in quotes\)$", line)
    params.parse(changed(defaults, key, yaml.safe_load(f'"{word}"')))
    assert "quotes" not in refusal(changed(defaults, key, 3))


@pytest.mark.parametrize("key", ["trian", "train.epoch", "network.depth", "data.sources.cuhk03.label", "image.size"])
def test_an_unknown_key_is_named(defaults: dict[str, Any], key: str) -> None:
    assert refusal(changed(defaults, key, 1)) == f"params.yaml: {key}: unknown key"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train.epochs", "ten"),
        ("train.epochs", 2.5),
        ("train.sync_bn", "perhaps"),
        ("image.height", None),
        ("data.sources", ["cuhk03"]),
        ("compute", 3),
    ],
)
def test_a_value_of_the_wrong_type_is_named_and_shown(defaults: dict[str, Any], key: str, value: object) -> None:
    message = refusal(changed(defaults, key, value))
    assert message.startswith(f"params.yaml: {key}: Input should be")
    assert message.endswith(f"got {value!r}")


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("train.lr", -1e-3, "greater than 0"),
        ("train.lr", 0, "greater than 0"),
        ("pretrain_hsl.lr", float("nan"), "finite number"),
        ("train.epochs", 0, "greater than or equal to 1"),
        ("train.margin", 0, "greater than 0"),
        ("train.images_per_identity", 1, "greater than or equal to 2"),
        ("train.erasing", 1.5, "less than or equal to 1"),
        ("train.precision", "float16", "'float32', 'tf32' or 'bfloat16'"),
        ("pretrain_hsl.held_out", 1, "less than 1"),
        ("network.backbone", "resnet101", "'resnet18', 'resnet34', 'resnet50' or 'mobilenet_v2'"),
        ("network.channels", 0, "greater than or equal to 1"),
        ("data.protocol", "fine_grained", "'benchmark', 'fg_reid' or 'fg_reid_v2'"),
        ("data.sources.cuhk03.layout", "cuhk", "'market1501', 'dukemtmc', 'msmt17', 'cuhk03', "),
        ("data.test_share", -0.1, "greater than or equal to 0"),
        ("data.gallery_share.black", -0.5, "greater than or equal to 0"),
        ("compute.workers", 0, "greater than or equal to 1"),
    ],
)
def test_an_impossible_value_is_named_with_what_is_possible(
    defaults: dict[str, Any], key: str, value: object, allowed: str
) -> None:
    message = refusal(changed(defaults, key, value))
    assert message.startswith(f"params.yaml: {key}: ")
    assert allowed in message
    assert message.endswith(f"got {value!r}")


@pytest.mark.parametrize("warmup", [10, 11])
def test_a_warm_up_that_never_ends_is_refused(defaults: dict[str, Any], warmup: int) -> None:
    message = refusal(changed(changed(defaults, "train.epochs", 10), "train.warmup_epochs", warmup))
    assert message == f"params.yaml: train: warmup_epochs ({warmup}) must be fewer than epochs (10)"


def test_the_last_possible_warm_up_is_taken(defaults: dict[str, Any]) -> None:
    tree = changed(changed(defaults, "train.epochs", 10), "train.warmup_epochs", 9)
    assert params.parse(tree).train.warmup_epochs == 9


def test_fewer_than_no_masked_peaks_are_refused(defaults: dict[str, Any]) -> None:
    message = refusal(changed(defaults, "network.streams.in.top_k", -1))
    assert message.startswith("params.yaml: network.streams.in.top_k: ")
    assert "top_k: Input should be greater than or equal to 0, got -1" in message


def test_a_mask_over_the_whole_map_is_refused_before_anything_starts(defaults: dict[str, Any]) -> None:
    message = refusal(changed(defaults, "network.streams.in.top_k", 15))
    assert message.startswith("params.yaml: network.streams.in.top_k: 15 hides the whole 5×3 feature map")
    assert params.parse(changed(defaults, "network.streams.in.top_k", 14))


def test_thirds_of_a_map_of_two_rows_are_refused(defaults: dict[str, Any]) -> None:
    tree = changed(changed(defaults, "network.streams.head_shoulder.region", "lower"), "image.height", 32)
    assert refusal(tree).startswith("params.yaml: image.height: 32 gives no map of three rows")


def test_an_unknown_kind_of_stream_is_named_with_the_known_ones(defaults: dict[str, Any]) -> None:
    message = refusal(changed(defaults, "network.streams.bn.kind", "batch"))
    assert message.startswith("params.yaml: network.streams.bn: ")
    assert all(kind in message for kind in ("'batch'", "'global'", "'instance'", "'part'"))


def test_a_network_without_streams_is_refused(defaults: dict[str, Any]) -> None:
    assert refusal(changed(defaults, "network.streams", {})).startswith("params.yaml: network.streams: ")


def test_two_learned_regions_are_refused_and_both_named(defaults: dict[str, Any]) -> None:
    streams = {"head": LEARNED, "whole": {"kind": "global"}, "legs": LEARNED}
    message = refusal(changed(defaults, "network.streams", streams))
    assert message == "params.yaml: network: only one stream can learn its region, found head, legs"


def test_a_dataset_without_sources_is_refused(defaults: dict[str, Any]) -> None:
    assert refusal(changed(defaults, "data.sources", {})).startswith("params.yaml: data.sources: ")


def test_all_problems_are_told_at_once(defaults: dict[str, Any]) -> None:
    message = refusal(changed(changed(defaults, "train.lr", -1), "evaluate.chunk", 5))
    assert "train.lr: " in message
    assert "evaluate.chunk: unknown key" in message


def test_a_missing_section_is_named(defaults: dict[str, Any]) -> None:
    del defaults["pretrain_hsl"]
    assert refusal(defaults) == "params.yaml: pretrain_hsl: Field required"


@pytest.mark.parametrize("tree", [None, [], "quickstart"])
def test_something_else_than_a_mapping_is_refused(tree: object) -> None:
    assert refusal(tree).startswith("params.yaml: (top level): ")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    with pytest.raises(CuhsError) as error:
        params.load(file)
    assert str(error.value) == f"{file}: missing; run from the project's root"


@pytest.mark.parametrize("text", ["train: {epochs: 1", "train:\n\tepochs: 1\n", "a: b: c\n"])
def test_broken_yaml_is_one_line_with_file_and_position(text: str, tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(text)
    with pytest.raises(CuhsError) as error:
        params.load(file)
    message = str(error.value)
    assert message.startswith(f"{file}: not valid YAML (")
    assert "line " in message
    assert "\n" not in message


# Values of a search


def test_values_are_put_in_by_key(defaults: dict[str, Any]) -> None:
    changed_params = params.with_values(params.parse(defaults), {"train.eta_1": 0.25, "network.streams.in.top_k": 3})
    assert changed_params.train.eta_1 == 0.25
    assert changed_params.network.streams["in"].top_k == 3
    assert changed_params.train.eta_2 == params.parse(defaults).train.eta_2


@pytest.mark.parametrize("key", ["train.eta_3", "network.streams.parts.top_k", "train.eta_1.low", "eta_1"])
def test_a_searched_key_that_does_not_exist_is_named(defaults: dict[str, Any], key: str) -> None:
    with pytest.raises(CuhsError, match=rf"tune\.space\.{re.escape(key)}: params\.yaml has no such key"):
        params.with_values(params.parse(defaults), {key: 1})


def test_a_searched_value_that_is_impossible_is_named(defaults: dict[str, Any]) -> None:
    with pytest.raises(CuhsError, match=r"tune\.space: train\.eta_1: .*greater than or equal to 0, got -1"):
        params.with_values(params.parse(defaults), {"train.eta_1": -1})


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"uniform": [3, 1]}, r"`uniform` needs \[low, high\], got \[3, 1\]"),
        ({"integers": [1]}, r"`integers` needs \[low, high\]"),
        ({}, "give one of choice, uniform, loguniform, integers"),
        ({"choice": []}, "give one of choice"),
        ({"choice": [1], "uniform": [0, 1]}, "give one of choice"),
    ],
)
def test_a_range_that_is_none_is_an_error(defaults: dict[str, Any], space: dict[str, Any], said: str) -> None:
    with pytest.raises(CuhsError, match=said):
        params.parse({**defaults, "tune": {**defaults["tune"], "space": {"train.eta_1": space}}})


def test_a_grid_needs_choices(defaults: dict[str, Any]) -> None:
    tune = {**defaults["tune"], "search": "grid", "space": {"train.eta_1": {"uniform": [0, 1]}}}
    with pytest.raises(CuhsError, match="a grid needs `choice`, not `uniform`"):
        params.parse({**defaults, "tune": tune})


@pytest.mark.parametrize(
    ("workers", "line"),
    [
        (3, "compute.workers: the 16 images of a batch do not divide among 3 workers; "),
        (16, "compute.workers: 16 workers get one image each of a batch of 16, and batch normalisation needs two; "),
    ],
)
def test_workers_that_cannot_share_a_batch_are_refused(workers: int, line: str, defaults: dict[str, Any]) -> None:
    assert line in refusal(changed(defaults, "compute.workers", workers))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("network.weights", ["x" * 10**6] * 9),
        ("profile", {"a": [[[[1] * 99] * 99] * 99] * 9}),
        pytest.param("image.height", 16**10_000, id="a number of 12,000 digits"),
        ("x" * 10**6, 1),
        ("network.streams", {"x" * 10**6: {"kind": "global"}}),
        ("network.streams", {"a": {"kind": "x" * 10**6}}),
        ("compute", {f"k{i}": 1 for i in range(10_000)}),
        ("tune.space", {"train.eta_1": {"uniform": ["x" * 10**6] * 9}}),
        ("tune.space", {"x" * 10**6: {"choice": []}}),
        ("train.seed", -1),
        ("train.seed", 2**32),
    ],
)
def test_whatever_is_wrong_the_line_is_short(defaults: dict[str, Any], key: str, value: object) -> None:
    message = refusal(changed(defaults, key, value))
    assert message.startswith("params.yaml: ") and len(message) < 2500
