"""Ray's cluster launcher and the roles of its nodes: what Ray reads, without keys and with no more than is needed."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.infra.manifests import INFRA, ROOT, documents

LAUNCHER = INFRA / "ray" / "cluster.yaml"
# The actions of S3 that boto3's calls need; https://docs.aws.amazon.com/service-authorization, list of Amazon S3.
ACTIONS = {
    "get_object": "s3:GetObject",
    "head_object": "s3:GetObject",
    "put_object": "s3:PutObject",
    "delete_object": "s3:DeleteObject",
    "list_objects_v2": "s3:ListBucket",
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "list_multipart_uploads": "s3:ListBucketMultipartUploads",
}


def launcher() -> dict[str, Any]:
    (config,) = documents(LAUNCHER)
    return config


def many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def policy_faults(policy: dict[str, Any]) -> list[str]:
    """Where a policy of AWS allows more than named actions on named things."""
    faults = []
    for statement in policy["Statement"]:
        actions = many(statement["Action"])
        faults += [f"{statement['Sid']}: {action}" for action in actions if "*" in action]
        # Describing instances cannot be bounded to some of them.
        if "*" in many(statement["Resource"]) and not all(re.match(r"ec2:Describe\w+$", a) for a in actions):
            faults.append(f"{statement['Sid']}: any resource")
        if statement["Effect"] != "Allow" or {"NotAction", "NotResource"} & statement.keys():
            faults.append(f"{statement['Sid']}: not a list of what is allowed")
    return faults


def allowed(policy: dict[str, Any]) -> set[str]:
    return {action for statement in policy["Statement"] for action in many(statement["Action"])}


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_ray_reads_the_launcher_s_file() -> None:
    config = prepare_config(launcher())
    validate_config(config)
    gpu = config["available_node_types"]["gpu"]
    assert (gpu["min_workers"], gpu["node_config"]["InstanceMarketOptions"]) == (0, {"MarketType": "spot"})
    assert config["available_node_types"]["head"]["resources"] == {"CPU": 0}


@pytest.mark.parametrize("change", [{"max_worker": 4}, {"max_workers": "four"}, {"provider": {"region": "x"}}])
def test_a_wrong_key_or_type_is_found(change: dict[str, Any]) -> None:
    with pytest.raises((jsonschema.ValidationError, ValueError)):
        validate_config({**prepare_config(launcher()), **change})


def test_what_to_edit_stands_in_one_place() -> None:
    lines = LAUNCHER.read_text().splitlines()
    start, end = lines.index("metadata:"), lines.index("provider:")
    placeholders = [n for n, line in enumerate(lines) if re.search(r"REPLACE|BUCKET|MLFLOW:|example\.com", line)]
    assert len(placeholders) == 5
    assert all(start < n < end for n in placeholders)


def test_nodes_ask_for_a_token_and_the_dashboard_listens_on_loopback() -> None:
    config = launcher()
    assert "--env=RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert config["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]


def test_no_node_gets_ray_s_own_wide_roles_or_open_group() -> None:
    """Ray makes a role with all of EC2 and S3, and a group open to the world on port 22, where none is named."""
    for name, node in launcher()["available_node_types"].items():
        assert {"IamInstanceProfile", "SecurityGroupIds", "ImageId"} <= node["node_config"].keys(), name
        assert node["node_config"]["MetadataOptions"]["HttpTokens"] == "required"


@pytest.mark.parametrize("name", ["ray/iam-head.json", "s3/iam-policy.json"])
def test_a_policy_names_its_actions_and_resources(name: str) -> None:
    policy = read(INFRA / name)
    assert policy_faults(policy) == []
    assert not re.search(r"\d{12}", json.dumps(policy["Statement"]))


@pytest.mark.parametrize(
    "change",
    [
        {"Action": "s3:*"},
        {"Action": ["s3:GetObject", "s3:Put*"]},
        {"Resource": "*"},
        {"Resource": ["arn:aws:s3:::BUCKET", "*"]},
        {"Effect": "Deny"},
        {"NotAction": "s3:DeleteBucket"},
    ],
)
def test_a_wide_policy_is_found(change: dict[str, Any]) -> None:
    policy = copy.deepcopy(read(INFRA / "s3" / "iam-policy.json"))
    policy["Statement"][2] |= change
    assert policy_faults(policy)


def test_the_policy_allows_what_the_object_store_calls_and_deletes_only_there() -> None:
    source = "".join(path.read_text() for path in sorted((ROOT / "pipelines").rglob("*.py")))
    calls = set(
        re.findall(r"_client\.((?:get|head|put|delete|list|abort|copy|create)_(?!paginator|waiter)\w+)", source)
    )
    calls |= set(re.findall(r'get_paginator\("(\w+)"\)', source))
    assert calls >= {"get_object", "put_object", "list_objects_v2"}
    policy = read(INFRA / "s3" / "iam-policy.json")
    assert {ACTIONS[call] for call in calls} <= allowed(policy)
    (delete,) = [s for s in policy["Statement"] if "s3:DeleteObject" in many(s["Action"])]
    parts = {resource.removeprefix("arn:aws:s3:::BUCKET/cuhs/") for resource in delete["Resource"]}
    assert parts == {"objects/*", "jobs/*", "runs/*"}
    assert {f"{name}/*" for name in re.findall(r'within\("(\w+)"', source)} <= parts


def test_the_bucket_drops_unfinished_uploads_and_old_versions() -> None:
    rules = {rule["ID"]: rule for rule in read(INFRA / "s3" / "lifecycle.json")["Rules"]}
    assert all(rule["Status"] == "Enabled" for rule in rules.values())
    assert rules["abort-unfinished-uploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 3}
    assert rules["drop-old-versions"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 90}
