"""What layers and losses make of malformed tensors: finite results or a clear error."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.layers.test_estimators import ESTIMATORS, build
from tests.losses.cases import CASES
from tests.trust.malformed import attempt, budget

EXTREMES = (
    0.0,
    1.0,
    -1.0,
    1e-45,
    5e-324,
    1e-30,
    1e30,
    1e38,
    -3e38,
    1e300,
    float("inf"),
    -float("inf"),
    float("nan"),
)
DTYPES = (
    torch.float64,
    torch.float32,
    torch.bfloat16,
    torch.float16,
    torch.int64,
    torch.bool,
    torch.complex64,
)
LAYOUTS = ("as it is", "transposed", "expanded", "strided", "shared memory", "conjugate", "sparse", "no grad")


@st.composite
def tensors(draw, shape, spoil=True):
    """Costs of a batch, with values, dtype, shape and layout that may be meant by nobody."""
    tensor = torch.randn(
        shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 3))), dtype=torch.float64
    )
    if not spoil:
        return tensor
    for _ in range(draw(st.integers(0, 2))):
        tensor.view(-1)[draw(st.integers(0, tensor.numel() - 1))] = draw(st.sampled_from(EXTREMES))
    tensor = tensor * draw(st.sampled_from((1.0, 1.0, 1e-320, 1e-40, 1e30, 1e300)))
    tensor = tensor.to(draw(st.sampled_from(DTYPES)))
    shape = draw(st.sampled_from(("same", "same", "empty", "scalar", "fewer", "nothing inside")))
    if shape == "scalar":
        return tensor.sum() if tensor.dtype != torch.bool else tensor.any()
    if shape == "nothing inside":
        return tensor[:, :0]
    tensor = (
        tensor[{"same": len(tensor), "empty": 0, "fewer": 1}[shape] * 1 :][:0] if shape == "empty" else tensor
    )
    tensor = tensor[:1] if shape == "fewer" else tensor
    return laid_out(tensor, draw(st.sampled_from(LAYOUTS)))


def laid_out(tensor, layout):
    if layout == "transposed":
        return tensor.transpose(0, -1).contiguous().transpose(0, -1)
    if layout == "expanded" and len(tensor):
        return tensor[:1].expand_as(tensor)
    if layout == "strided":
        return tensor.repeat_interleave(2, dim=-1)[..., ::2]
    if layout == "shared memory":
        return torch.stack([tensor, tensor])[1]
    if layout == "conjugate" and tensor.is_complex():
        return tensor.conj()
    if layout == "sparse":
        return tensor.to_sparse()
    return tensor


def survives(call, names):
    result, refusal = attempt(call)
    assert refusal is None or any(name in refusal for name in names), refusal
    return result


def differentiable(tensor):
    copy = tensor.detach().clone()
    return copy.requires_grad_() if copy.is_floating_point() and copy.layout == torch.strided else copy


@pytest.mark.parametrize("name", ESTIMATORS)
@budget(12)
@given(data=st.data())
def test_a_layer(name, data):
    costs = differentiable(data.draw(tensors((3, 5))))
    before = costs.detach().clone()
    y = survives(lambda: build(name)(costs), ("costs[0]", "instance"))
    if y is None:
        return
    assert torch.equal(costs.detach(), before)
    assert y.shape == costs.shape
    assert y.isfinite().all()
    if not y.requires_grad:
        return
    incoming = torch.ones_like(y) * data.draw(st.sampled_from((1.0, 1e-40, 1e30, 0.0)))
    (gradient,) = survives(lambda: torch.autograd.grad(y, costs, incoming), ("gradient", "instance")) or (
        None,
    )
    # What the dtype cannot hold comes in as infinite, and goes on as NaN.
    assert gradient is None or not gradient.isnan().any() or not incoming.isfinite().all()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@budget(12)
@given(data=st.data())
def test_a_loss(case, data):
    costs = differentiable(data.draw(tensors((2, 3, 3))))
    target = case.target(torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    spoil = data.draw(st.sampled_from(sorted(target)))
    if isinstance(target[spoil], torch.Tensor) and data.draw(st.booleans()):
        target[spoil] = data.draw(tensors((2, 3, 3)))
    names = ("costs", "true_", "targets", "normals", "instance", "gradient")
    value = survives(lambda: case.make()(costs, **target), names)
    if value is None:
        return
    assert not value.isnan().any() or len(costs) == 0
    if value.requires_grad and len(costs):
        (gradient,) = survives(lambda: torch.autograd.grad(value, costs), names) or (None,)
        assert gradient is None or not gradient.isnan().any()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_layer_does_not_take_what_is_no_tensor(name):
    for junk in (None, 1.0, "costs", [1.0, 2.0], np.ones((2, 3))):
        with pytest.raises(TypeError, match=r"costs\[0\] must be a tensor"):
            build(name)(junk)
