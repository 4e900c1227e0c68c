"""Modules for the tests: by hand, of common shapes."""

import torch
import torch.nn.functional as F
from torch import nn

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


def he(module):
    """He's initialisation of all layers, without biases."""
    for part in module.modules():
        if isinstance(part, LAYERS):
            nn.init.kaiming_normal_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    return module


def mlp(depth=5, N=128, d=64, K=10, act=nn.ReLU, bias=True, norm=None):
    layers = [nn.Flatten()]
    for before in (d, *[N] * (depth - 1)):
        layers += [nn.Linear(before, N, bias=bias), *([norm(N)] if norm else []), act()]
    return nn.Sequential(*layers, nn.Linear(N, K, bias=bias))


class ResidualMLP(nn.Module):
    """x <- x + scale V phi(BN(W x)) + biases."""

    def __init__(self, N=128, blocks=3, d=64, K=10, scale=0.5):
        super().__init__()
        self.first, self.last, self.scale = nn.Linear(d, N), nn.Linear(N, K), scale
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(N, N, bias=False), nn.BatchNorm1d(N), nn.ReLU(), nn.Linear(N, N))
            for _ in range(blocks)
        )

    def forward(self, x):
        x = self.first(x.flatten(1))
        for block in self.blocks:
            x = x + self.scale * block(x)
        return self.last(x)


def conv_net(C=32, act=nn.ReLU, head="flatten", size=8, K=10):
    ends = (
        [nn.Flatten(), nn.Linear(C * size**2, K)]
        if head == "flatten"
        else [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(C, K)]
    )
    return nn.Sequential(
        nn.Conv2d(1, C, 3, padding=1, padding_mode="circular"), act(),
        nn.Conv2d(C, C, 3, padding=1, padding_mode="circular"), act(),
        nn.Conv2d(C, C, 3, padding=1, padding_mode="circular"), act(), *ends,
    )  # fmt: skip


class LeNet5(nn.Module):
    """Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, Proceedings of the IEEE, 1998."""

    def __init__(self):
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.f1, self.f2, self.f3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = F.avg_pool2d(torch.tanh(self.c1(x)), 2)
        x = F.avg_pool2d(torch.tanh(self.c2(x)), 2)
        return self.f3(torch.tanh(self.f2(torch.tanh(self.f1(x.flatten(1))))))


def strided_net(C=16, K=10):
    """The small network of E. Wong and Z. Kolter (ICML 2018) for images of 28 x 28."""
    return nn.Sequential(
        nn.Conv2d(1, C, 4, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(C, 2 * C, 4, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(2 * C * 49, 100), nn.ReLU(), nn.Linear(100, K),
    )  # fmt: skip


def dense_head(C=16, K=10):
    """Strides and unpadded taps, an average over all positions, and two dense layers."""
    return nn.Sequential(
        nn.Conv2d(3, C, 3, stride=2, padding=1), nn.BatchNorm2d(C), nn.ReLU(), nn.Conv2d(C, C, 2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(C, 2 * C), nn.BatchNorm1d(2 * C), nn.ReLU(), nn.Linear(2 * C, K),
    )  # fmt: skip


def blocks_on_an_image(C=6, N=24, K=5):
    """A convolution, and then the blocks of a residual MLP."""
    blocks = ResidualMLP(N=N, d=C * 16, K=K)
    return nn.Sequential(nn.Conv2d(1, C, 3), nn.BatchNorm2d(C), nn.ReLU(), nn.Flatten(), blocks)


class BasicBlock(nn.Module):
    """The block of a ResNet: with the activation after the sum, or ``first`` in the branch; with ``project`` its
    shortcut is a convolution in every block (option C of the paper)."""

    def __init__(self, before, after, stride, first, project):
        super().__init__()
        self.first = first
        self.c1, self.c2 = (
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
        )
        self.b1, self.b2 = nn.BatchNorm2d(before if first else after), nn.BatchNorm2d(after)
        same = stride == 1 and before == after and not project
        self.shortcut = nn.Identity() if same else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x):
        if self.first:
            return self.shortcut(x) + self.c2(F.relu(self.b2(self.c1(F.relu(self.b1(x))))))
        return F.relu(self.shortcut(x) + self.b2(self.c2(F.relu(self.b1(self.c1(x))))))


def resnet20(first, C=16, project=False):
    """The ResNet-20 of CIFAR-10 (K. He et al., CVPR 2016), and its form with activations first (ECCV 2016)."""
    layers, before = [nn.Conv2d(3, C, 3, 1, 1, bias=False)], C
    layers += [] if first else [nn.BatchNorm2d(C), nn.ReLU()]
    for stage, after in enumerate((C, 2 * C, 4 * C)):
        for block in range(3):
            layers.append(BasicBlock(before, after, 2 if stage and not block else 1, first, project))
            before = after
    layers += [nn.BatchNorm2d(before), nn.ReLU()] if first else []
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10)).eval()


class Mixer(nn.Module):
    """A block of an MLP-Mixer (I. Tolstikhin et al., NeurIPS 2021), which mixes positions by a matrix."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm, self.mix, self.last = (
            nn.Conv2d(3, 32, 1),
            nn.LayerNorm(32),
            nn.Linear(16, 16),
            nn.Linear(32, 10),
        )

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = x + self.mix(self.norm(x).transpose(1, 2)).transpose(1, 2)
        return self.last(x.mean(1))


class PreNorm(nn.Module):
    """x <- x + B gelu(A LN(x)), with wide branches, as the blocks of a transformer."""

    def __init__(self, N=64, blocks=3, d=64, K=10):
        super().__init__()
        self.first, self.last, self.end = nn.Linear(d, N), nn.Linear(N, K), nn.LayerNorm(N)
        self.norms = nn.ModuleList(nn.LayerNorm(N) for _ in range(blocks))
        self.up = nn.ModuleList(nn.Linear(N, 4 * N) for _ in range(blocks))
        self.down = nn.ModuleList(nn.Linear(4 * N, N) for _ in range(blocks))

    def forward(self, x):
        x = self.first(x.flatten(1))
        for norm, up, down in zip(self.norms, self.up, self.down):
            x = x + down(F.gelu(up(norm(x))))
        return self.last(self.end(x))
