"""What a computation of distances holds in memory besides the features."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.imports import ROOT

STATUS = Path("/proc/self/status")
PREPARED = """
from pathlib import Path
import torch
from cuhs.evaluation.features import Features
from cuhs.evaluation.products import Products

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))

gallery = Features(torch.empty(100_000, 512).fill_(0.01), range(100_000), [0] * 100_000)
query = gallery.take(torch.arange(4).numpy())
before = peak()
Products.of(query, gallery)
print(peak() - before)
"""


@pytest.mark.skipif(not STATUS.exists(), reason="reads peak memory from /proc, which this system lacks")
def test_preparing_the_gallery_takes_a_small_part_of_its_memory() -> None:
    # 195 MiB of features. Their norms once took as much again: small results lay between large temporary arrays.
    done = subprocess.run([sys.executable, "-c", PREPARED], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 80
