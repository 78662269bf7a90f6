"""``python stepper.py OWNER BACKBONE HEIGHT WIDTH THREADS``: a training that does steps when it is told to.

Each line of the input is a number of steps; the answer is the seconds that they took. OWNER is ``ours``, in the
project's environment, or ``torchreid``, in the peers'. Both train the same network (ResNet-50 or MobileNetV2 with a
stride of 16 and a classifier) by cross-entropy and batch-hard triplet loss with Adam, on the same batch.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

# Also where this runs as a file, in the peers' environment.
sys.path.insert(0, str(Path(__file__).parents[2]))

IDENTITIES, IMAGES, CLASSES = 8, 4, 75
Step = Callable[[], None]


def ours(backbone: str, images: torch.Tensor, labels: torch.Tensor) -> Step:
    from cuhs.losses import metric_loss, total_loss
    from cuhs.network.config import NetworkConfig
    from cuhs.network.cuhs import CUHS
    from cuhs.training.config import Schedule
    from cuhs.training.reid import Classified
    from cuhs.training.schedule import adam

    values = {"backbone": backbone, "weights": "none", "channels": 128}
    config = NetworkConfig.model_validate(values | {"streams": {"global": {"kind": "global", "reduced": False}}})
    model = Classified(CUHS(config), CLASSES).train().to(memory_format=torch.channels_last)
    batch = images.contiguous(memory_format=torch.channels_last)
    optimizer, metric = adam(model, Schedule(epochs=1)), metric_loss("triplet", 0.3)

    def step() -> None:
        loss, _ = total_loss(*model(batch), labels, metric, 1.0, 1.0, 0.1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def torchreid(backbone: str, images: torch.Tensor, labels: torch.Tensor) -> Step:
    from benchmarks.peers.runner import measured

    models = measured(f"torchreid.reid.models.{'resnet' if backbone == 'resnet50' else 'mobilenetv2'}")
    if backbone == "resnet50":
        model = models.ResNet(CLASSES, "triplet", models.Bottleneck, [3, 4, 6, 3], last_stride=1)
    else:
        model = models.MobileNetV2(CLASSES, loss="triplet")
        model.conv7[0].dwconv2.conv.stride = (1, 1)
    model.train()
    cross_entropy = measured("torchreid.reid.losses.cross_entropy_loss").CrossEntropyLoss(CLASSES, use_gpu=False)
    triplet = measured("torchreid.reid.losses.hard_mine_triplet_loss").TripletLoss(0.3)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4, weight_decay=5e-4)

    def step() -> None:
        logits, features = model(images)
        loss = cross_entropy(logits, labels) + triplet(features, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    owner, backbone, *numbers = sys.argv[1:]
    height, width, threads = map(int, numbers)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    images = torch.randn(IDENTITIES * IMAGES, 3, height, width)
    labels = torch.arange(IDENTITIES).repeat_interleave(IMAGES)
    step = {"ours": ours, "torchreid": torchreid}[owner](backbone, images, labels)
    for line in sys.stdin:
        began = time.perf_counter()
        for _ in range(int(line)):
            step()
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
