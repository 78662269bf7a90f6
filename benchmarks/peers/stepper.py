"""``python stepper.py OWNER BACKBONE HEIGHT WIDTH THREADS DEVICE``: a training that does steps when it is told to.

Each line of the input is a number of steps; the answer is the seconds that they took. OWNER is ``ours``, in the
project's environment, or ``torchreid``, in the peers'. Both train the same network (ResNet-50 or MobileNetV2 with a
stride of 16 and a classifier) by cross-entropy and batch-hard triplet loss with Adam, on the same batch: 32 images in
float32 on a CPU, 64 in bfloat16 on CUDA.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

# Also where this runs as a file, in the peers' environment.
sys.path.insert(0, str(Path(__file__).parents[2]))

# Identities of a batch, and images of each.
IDENTITIES, IMAGES = {"cpu": 8, "cuda": 16}, 4
CLASSES = 75
Step = Callable[[], None]


def ours(backbone: str, images: torch.Tensor, labels: torch.Tensor) -> Step:
    from benchmarks.steps import baseline, step_of

    return step_of(baseline(backbone, CLASSES), images, labels)


def torchreid(backbone: str, images: torch.Tensor, labels: torch.Tensor) -> Step:
    from benchmarks.peers.runner import measured

    models = measured(f"torchreid.reid.models.{'resnet' if backbone == 'resnet50' else 'mobilenetv2'}")
    if backbone == "resnet50":
        model = models.ResNet(CLASSES, "triplet", models.Bottleneck, [3, 4, 6, 3], last_stride=1)
    else:
        model = models.MobileNetV2(CLASSES, loss="triplet")
        model.conv7[0].dwconv2.conv.stride = (1, 1)
    model.train().to(images.device)
    cross_entropy = measured("torchreid.reid.losses.cross_entropy_loss").CrossEntropyLoss(
        CLASSES, use_gpu=images.is_cuda
    )
    triplet = measured("torchreid.reid.losses.hard_mine_triplet_loss").TripletLoss(0.3)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4, weight_decay=5e-4)

    def step() -> None:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=images.is_cuda):
            logits, features = model(images)
        loss = cross_entropy(logits.float(), labels) + triplet(features.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    owner, backbone, *numbers, device = sys.argv[1:]
    height, width, threads = map(int, numbers)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    identities = IDENTITIES[device]
    images = torch.randn(identities * IMAGES, 3, height, width).to(device)
    labels = torch.arange(identities).repeat_interleave(IMAGES).to(device)
    step = {"ours": ours, "torchreid": torchreid}[owner](backbone, images, labels)
    # A GPU works while the host goes on, so both clocks wait for it.
    wait = torch.cuda.synchronize if images.is_cuda else lambda: None
    for line in sys.stdin:
        wait()
        began = time.perf_counter()
        for _ in range(int(line)):
            step()
        wait()
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
