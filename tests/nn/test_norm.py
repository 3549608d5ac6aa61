import torch
from tiny_network import numbers

from causvid.nn.norm import RMSNorm


def plain(x, weight, eps):
    return weight * x / (x.square().mean(-1, keepdim=True) + eps).sqrt()


def norm(dtype=torch.float64):
    module = RMSNorm(8, eps=1e-6)
    module.weight.data = numbers(8, dtype=dtype)
    return module


def test_the_norm_is_its_formula():
    module, x = norm(), numbers(2, 3, 8)

    torch.testing.assert_close(module(x), plain(x, module.weight, 1e-6))


def test_its_derivative_is_that_of_the_formula():
    module, x = norm(), numbers(2, 3, 8).requires_grad_()

    def with_weight(x, weight):
        return torch.func.functional_call(module, {"weight": weight}, (x,))

    assert torch.autograd.gradcheck(with_weight, (x, module.weight))


def test_half_precision_is_normed_in_float32():
    module, x = norm(torch.float32), numbers(2, 8, dtype=torch.float32).bfloat16()

    out = module(x)

    assert out.dtype == torch.float32
    torch.testing.assert_close(out, plain(x.float(), module.weight, 1e-6))


def test_autocast_does_not_touch_the_derivative():
    gradients = []
    for on in (False, True):
        module, x = norm(torch.float32), numbers(4, 8, dtype=torch.float32).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=on):
            module(x).square().sum().backward()
        gradients.append((x.grad, module.weight.grad))

    for plain_one, under_autocast in zip(*gradients, strict=True):
        assert torch.equal(plain_one, under_autocast)
