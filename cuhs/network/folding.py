"""Folds batch normalisation into the convolutions before it, for networks that only compute features."""

import copy
from itertools import pairwise
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

M = TypeVar("M", bound=nn.Module)


def folded(network: M) -> M:
    """Copy a network in evaluation mode, with each convolution and the batch normalisation behind it made one.

    Outputs are the same but for rounding. Instance normalisation depends on the image and stays.

    Args:
        network: a network whose modules run in the order of their definition, as those of :mod:`cuhs.network` do.
    """
    copied = copy.deepcopy(network).eval()
    for module in copied.modules():
        for (name, convolution), (behind, norm) in pairwise([*module.named_children()]):
            if isinstance(convolution, nn.Conv2d) and type(norm) is nn.BatchNorm2d:
                setattr(module, name, fuse_conv_bn_eval(convolution, norm))
                setattr(module, behind, nn.Identity())
    return copied
