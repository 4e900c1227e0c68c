"""Convolutions as declared: what they meet, and what is refused."""

import re
from dataclasses import replace

import pytest
import sympy as sp
import torch

import advmf as mf
from advmf.errors import DeclarationError
from advmf.nets import Leaves

RELU = mf.ReLULike(1, 0)
IMAGE = (2, 6, 4)


def conv(**given):
    return mf.Serial(mf.Conv(**given), RELU)


def test_a_declaration_is_what_it_prints():
    nets = [
        mf.conv(1, 0, image=(3, 9)),
        mf.conv_residual(1, 0, head="pool"),
        mf.Net(mf.Stage(conv(stride=2), 1), mf.Stage(conv(kernel=1, padding="zero")), image=IMAGE),
        mf.Net(mf.Stage(mf.Serial(conv(), mf.AvgPool(2)), 1), mf.Stage(conv(kernel=1)), image=IMAGE),
    ]
    room = {**vars(sp), **vars(mf.nets), **{s.name: s for s in (mf.symbols.L, mf.symbols.sigma_w, mf.symbols.sigma_b)}}
    for net in nets:
        again = eval(repr(net), dict(room))
        assert again == net and hash(again) == hash(net) and repr(again) == repr(net)
    assert len({*nets, mf.conv(1, 0, image=(3, 10)), mf.conv(1, 0, image=(3, 9), head="pool")}) == 6, "the control"


def test_averages_share_no_position():
    assert mf.AvgPool(2).windows.sources((2, 4)) == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert mf.AvgPool(3).sizes((6, 9)) == (2, 3)


@pytest.mark.parametrize("head", ["flatten", "pool"])
def test_files_keep_the_image_and_the_head(head):
    net = mf.conv_residual(1, 0, image=IMAGE, head=head)
    claim = replace(mf.loss_bound(mf.vanilla(1, 0), 2, 2), net=net)
    assert mf.from_json(mf.to_json(claim)).net == net
    broken = mf.to_json(claim).replace(f'"{head}"', '"other"')
    with pytest.raises(mf.errors.DataError, match="head is one of flatten, pool; got 'other'"):
        mf.from_json(broken)


def test_sizes_follow_from_strides():
    net = mf.Net(mf.Stage(conv(stride=2), 1), mf.Stage(mf.Residual(*conv().blocks, mf.Mix())), image=(2, 8, 6))
    assert (net.sizes, net.inputs, mf.conv(1, 0).sizes) == ((4, 3), 96, (8, 8))
    assert mf.Net(mf.Stage(conv(stride=2), 2), image=(1, 12)).sizes == (3,)
    assert mf.vanilla(1, 0).sizes == () and mf.vanilla(1, 0).inputs is None


def test_sources_are_the_positions_around():
    assert mf.Conv().sources((5,)) == [[4, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 0]]
    assert mf.Conv(padding="zero", stride=2).sources((4,)) == [[4, 0, 1], [1, 2, 3]]
    (first, *_) = mf.Conv().sources((3, 4))
    assert first == [11, 8, 9, 3, 0, 1, 7, 4, 5]


def test_paddings_have_one_name():
    assert mf.Conv(3, 1) == mf.Conv(3, "zero") and mf.Conv(4, 0) == mf.Conv(4, "valid") != mf.Conv(4, 1)
    assert mf.Conv(4, sp.Integer(1), 2).padding == 1
    assert mf.Conv(4, 1, 2).sources((4,)) == [[4, 0, 1, 2], [1, 2, 3, 4]]
    assert mf.Conv(2, "valid").sources((2, 3)) == [[0, 1, 3, 4], [1, 2, 4, 5]]


@pytest.mark.parametrize("padding", ["zero", "valid", 1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_sizes_are_those_of_torch(padding, stride):
    for kernel in (1, 2, 3, 4, 5):
        around = {"zero": kernel // 2, "valid": 0}.get(padding, padding)
        if (padding == "zero" and kernel % 2 == 0) or around >= kernel:
            continue
        for size in range(kernel, 12):
            layer, x = mf.Conv(kernel, padding, stride), torch.zeros(1, 1, size)
            if kernel == stride and layer.windows.first == 0 and size % stride:
                continue  # refused: it would leave out positions
            wanted = torch.nn.functional.conv1d(x, torch.zeros(1, 1, kernel), stride=stride, padding=around)
            assert layer.sizes((size,)) == (wanted.shape[-1],) == (len(layer.sources((size,))),)


def test_even_layers_give_every_position_the_same_weight():
    """Counted: how often each position is met."""
    for padding in ("circular", "zero", "valid"):
        for kernel in (1, 3, 5):
            for stride in (1, 2, 3):
                if (padding, kernel) == ("valid", 5):
                    continue  # 5 does not divide 6, so no strides of 5 meet all positions
                layer = mf.Conv(kernel, padding, stride)
                met = [p for row in layer.sources((6, 6)) for p in row if p < 36]
                counts = {met.count(p) for p in range(36)}
                assert layer.even is (len(counts) == 1) or kernel == 1, layer
    assert mf.Conv(6, "valid", 6).even and not mf.Conv(5, "valid").even


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: mf.Conv(4), "is centred at a position, so it is odd; got kernel=4. Other paddings are 'valid'"),
        (lambda: mf.Conv(4, "zero"), "with padding='zero' a kernel is centred at a position"),
        (lambda: mf.Conv(3, padding=3), "or a number of zeros at each side, below kernel=3; got 3"),
        (lambda: mf.Conv(3, padding=-1), "below kernel=3; got -1"),
        (lambda: mf.Conv(3, padding=True), "below kernel=3; got True"),
        (
            lambda: mf.Net(mf.Stage(conv(kernel=5, padding=1), 1), image=(1, 2, 9)),
            "meets 5 positions along an axis, more than an image of 2 x 9 positions and 2 zeros have",
        ),
        (
            lambda: mf.Net(mf.Stage(conv(kernel=4, padding="valid", stride=4), 1), image=(1, 6)),
            "its stride, or its window, must divide the sizes of the image",
        ),
        (lambda: mf.Net(conv(padding="valid"), image=(1, 8)), "so the number of its copies must be known"),
        (lambda: mf.Conv(0), "kernel counts positions and must be a whole number >= 1; got 0"),
        (lambda: mf.Conv(3.0), "kernel counts positions and must be a whole number >= 1; got 3.0"),
        (lambda: mf.Conv(stride=True), "stride counts positions and must be a whole number >= 1; got True"),
        (lambda: mf.Conv(padding="same"), "padding is one of circular, zero, valid, or a number of zeros"),
        (lambda: mf.Conv(sigma_w=-1), "sigma_w is a standard deviation and must be >= 0; got -1"),
        (lambda: mf.AvgPool(0), "size counts positions and must be a whole number >= 1; got 0"),
        (lambda: mf.AvgPool(2.0), "size counts positions and must be a whole number >= 1; got 2.0"),
        (lambda: mf.Net(mf.Serial(mf.Dense(), mf.AvgPool())), "AvgPool(size=2) acts on images: give the net"),
        (lambda: mf.Net(mf.Serial(conv(), mf.AvgPool()), image=(1, 8)), "so the number of its copies must be known"),
        (
            lambda: mf.Net(mf.Stage(mf.Serial(conv(), mf.AvgPool()), 1), image=(1, 7)),
            "AvgPool(size=2): its stride, or its window, must divide the sizes of the image",
        ),
        (
            lambda: mf.Net(mf.Stage(mf.Serial(conv(), mf.AvgPool(), RELU), 1), image=(1, 8)),
            "acts on a stream whose coordinates are not centred Gaussian",
        ),
        (lambda: mf.Net(conv()), "acts on images: give the net the channels and sizes of its inputs"),
        (
            lambda: mf.conv(image=(1,)),
            "channels of an input and then one or two sizes, as in image=(1, 28, 28); got (1,)",
        ),
        (lambda: mf.conv(image=(1, 0, 3)), "got (1, 0, 3)"),
        (lambda: mf.conv(image=28), "got 28"),
        (lambda: mf.conv(image="128"), "got '128'"),
        (
            lambda: mf.conv(image=(1, 2, 9)),
            "meets 3 positions along an axis, more than an image of 2 x 9 positions has",
        ),
        (lambda: mf.conv(head="mean"), "head is one of flatten, pool; got 'mean'"),
        (lambda: mf.Net(RELU, head="pool"), "head says how a net on images ends; give image too"),
        (lambda: mf.Net(conv(stride=2), image=(1, 8)), r"from (8,) to (4,), so the number of its copies must be known"),
        (
            lambda: mf.Net(mf.Stage(conv(stride=2), 2), image=(1, 6)),
            "its stride, or its window, must divide the sizes of the image",
        ),
        (
            lambda: mf.Net(mf.Stage(mf.Residual(mf.Conv(stride=2), RELU, mf.Mix()), 1), image=(1, 6)),
            "adds images of (6,) and of (3,) positions",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(declare, message):
    with pytest.raises(DeclarationError, match=re.escape(message)):
        declare()


def test_leaves_hold_convolutions():
    assert mf.conv_residual(1, 0).block.apply(Leaves(), ())[1:] == (mf.Conv(), RELU, mf.Mix())
    assert mf.conv_residual(1, 0).trained == (mf.Conv(),)
