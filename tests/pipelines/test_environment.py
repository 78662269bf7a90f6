"""What the pipeline tells libraries before they are imported."""

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipelines import reach_directly


@pytest.mark.parametrize(("own", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_sleep_while_they_wait_unless_the_user_says_otherwise(own: str | None, expected: str) -> None:
    kept = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    code = (
        "import sys, os, pipelines.stages.train\n"
        "assert 'torch' not in sys.modules\n"
        "print(os.environ['OMP_WAIT_POLICY'])"
    )
    environment = kept | ({"OMP_WAIT_POLICY": own} if own else {})
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


DEAD = "http://127.0.0.1:9"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")
# All libraries by which the pipeline and its servers are asked, each as it reads the environment by itself.
ASK = """
import asyncio, sys, urllib.request
import pipelines
import aiohttp, boto3, requests
from botocore.config import Config

async def ask(url):
    async with aiohttp.ClientSession(trust_env=True) as session, session.get(url) as answer:
        return answer.status

for url in sys.argv[1:]:
    with urllib.request.urlopen(url, timeout=5) as answer:
        assert answer.status == 200
    assert requests.get(url, timeout=5).status_code == 200
    assert asyncio.run(ask(url)) == 200
    keys = dict(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
    client = boto3.client("s3", endpoint_url=url, config=Config(retries={"total_max_attempts": 1}), **keys)
    assert client.list_buckets()["ResponseMetadata"]["HTTPStatusCode"] == 200
"""


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("own", ["", "example.invalid, .corp"])
def test_loopback_is_reached_without_the_proxy_by_every_library(own: str) -> None:
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    proxies = {form: DEAD for name in PROXIES for form in (name, name.upper())}
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        urls = [f"http://{host}:{server.server_port}" for host in ("127.0.0.1", "localhost")]
        environment = kept | proxies | ({"NO_PROXY": own} if own else {})
        command = [sys.executable, "-c", ASK, *urls]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        server.shutdown()
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"NO_PROXY": "localhost,a", "no_proxy": "localhost,a"}),
        ({"NO_PROXY": "b, .c"}, {"NO_PROXY": "b,.c,localhost,a", "no_proxy": "b,.c,localhost,a"}),
        (
            {"NO_PROXY": "b", "no_proxy": "localhost"},
            {"NO_PROXY": "b,localhost,a", "no_proxy": "localhost,a"},
        ),
        ({"no_proxy": "*"}, {"NO_PROXY": None, "no_proxy": "*"}),
    ],
)
def test_what_the_user_reaches_directly_is_kept(
    before: dict[str, str], after: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    reach_directly("localhost", "a")
    assert {name: os.environ.get(name) for name in after} == after
