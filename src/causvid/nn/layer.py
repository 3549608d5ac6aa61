"""One layer of the video network, and the matrix products it is made of.

Matrix products and attention run in the weights' dtype, or in autocast's. The residual
stream, norms, modulation and gated sums stay in float32 (float64 in a float64 model):
`wide` marks these places.

Source: Wan 2.1, arXiv:2503.20314; one noise level per latent frame: CausVid, arXiv:2412.07772.
"""

import math
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from typing import Any, Literal, TypeVar, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, linear

from causvid.flow.schedule import wide
from causvid.nn.attention import MaskPlan, attention, attention_where
from causvid.nn.norm import RMSNorm, normed
from causvid.nn.ring import Past
from causvid.nn.rope import Rotation, rotate
from causvid.nn.spread import Spread, Undivided
from causvid.nn.together import as_one, lay_together

T = TypeVar("T")
Stream = Float[Tensor, "b f t e"]
"""The residual stream: t tokens in each latent frame."""
Modulation = Float[Tensor, "b f 6 e"]
"""Shift, scale and gate for attention, then for the feed-forward, of every latent frame."""
PerFrame = Float[Tensor, "b f 1 e"]
"""One of the six, beside the stream."""
Tokens = Float[Tensor, "b l e"]
Until = Literal["end", "keys"]
"""How far a pass goes: to the velocity, or only until the cache has the last layer's keys and values."""
KeysValues = tuple[Float[Tensor, "b s n d"], Float[Tensor, "b s n d"]]
ALONE = Undivided()


def product(layer: nn.Module, x: Float[Tensor, "*any i"]) -> Float[Tensor, "*any o"]:
    """A matrix product in the weights' dtype, or autocast's. The layer is linear, or one with adapters."""
    dtype = cast(Tensor, layer.weight).dtype
    return layer(x if x.dtype == dtype or autocasts(x) else x.to(dtype))


def autocasts(x: Tensor) -> bool:
    """Whether autocast chooses the type of matrix products where x is; the meta device knows none."""
    return not x.is_meta and torch.is_autocast_enabled(x.device.type)


def wide_product(layer: nn.Linear, x: Float[Tensor, "*any i"]) -> Float[Tensor, "*any o"]:
    """A matrix product in float32 at least, whatever autocast says."""
    with nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False):
        return linear(wide(x).to(wide(layer.weight).dtype), wide(layer.weight), wide(layer.bias))


def modulate(x: Stream, shift: PerFrame, factor: PerFrame, *, eps: float) -> Stream:
    """Normalised over the width, times a factor, plus a shift."""
    return torch.addcmul(shift, layer_norm(x, x.shape[-1:], eps=eps), factor)


class MLP(nn.Module):
    """Two matrices; what stands between them is the caller's."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, out)


class Attention(nn.Module):
    """The parameters of one attention: to the video itself, or to the text."""

    def __init__(self, width: int, *, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.query_norm, self.key_norm = RMSNorm(width, eps=eps), RMSNorm(width, eps=eps)

    def split(self, x: Tokens) -> Float[Tensor, "b l n d"]:
        return x.unflatten(-1, (self.heads, -1))

    def read_video(self, x: Tokens, turn: Rotation, *, past: Past | None) -> KeysValues:
        """Keys and values of the frames in x, which the past takes, and of the past."""
        v = self.split(product(self.value, x))
        unrotated = self.split(self.key_norm(product(self.key, x)))
        k = rotate(unrotated, turn).to(v.dtype)
        return (k, v) if past is None else past.join(k, v, unrotated=unrotated)

    def over_video(
        self, x: Tokens, turn: Rotation, *, plan: MaskPlan | None, past: Past | None, spread: Spread
    ) -> Tokens:
        """Self-attention of the frames in x, and of their past."""
        once = _anew if past is None else past.once
        matrices = None if torch.is_grad_enabled() else once("matrices", self._as_one)
        if matrices is None:
            k, v = self.read_video(x, turn, past=past)
            q = rotate(self.split(self.query_norm(product(self.query, x))), turn).to(v.dtype)
        else:
            q, k, v = self._at_once(x, turn, matrices, past=past)
        return product(self.out, spread.attend(q, k, v, plan=plan).flatten(2))

    def lay_together(self) -> None:
        """Let the parameters of queries, keys and values lie so that they can be one product."""
        for group in self._groups():
            if as_one(group) is None:
                lay_together(group)

    def _groups(self) -> tuple[list[Any], ...]:
        products = (self.query, self.key, self.value)
        norms = [self.query_norm.weight, self.key_norm.weight]
        return [layer.weight for layer in products], [layer.bias for layer in products], norms

    def _as_one(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """The matrices, the biases and the weights of the norms, if they lie together."""
        weight, bias, norms = map(as_one, self._groups())
        return None if weight is None or bias is None or norms is None else (weight, bias, norms)

    def _at_once(
        self, x: Tokens, turn: Rotation, matrices: tuple[Tensor, Tensor, Tensor], *, past: Past | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values from one product: the same numbers with half the operations."""
        weight, bias, norms = matrices
        x = x if autocasts(x) else x.to(weight.dtype)
        three = linear(x, weight.flatten(0, 1), bias.flatten()).unflatten(-1, (3, -1))
        v = self.split(three[..., 2, :])
        unrotated = normed(wide(three[..., :2, :]), wide(norms), eps=self.key_norm.eps)
        unrotated = unrotated.unflatten(-1, (self.heads, -1))
        q, k = rotate(unrotated.flatten(2, 3), turn).to(v.dtype).chunk(2, dim=2)
        return (q, k, v) if past is None else (q, *past.join(k, v, unrotated=unrotated[:, :, 1]))

    def read_text(self, text: Float[Tensor, "b s e"]) -> KeysValues:
        """Keys and values of the text."""
        v = self.split(product(self.value, text))
        return self.split(self.key_norm(product(self.key, text))).to(v.dtype), v

    def over_text(self, x: Tokens, text: KeysValues, *, reads: Bool[Tensor, "b l s"] | None) -> Tokens:
        """Cross-attention; `reads` says which token reads which row, where a prompt has parts."""
        k, v = text
        q = self.split(self.query_norm(product(self.query, x))).to(v.dtype)
        read = attention(q, k, v) if reads is None else attention_where(q, k, v, mask=reads)
        return product(self.out, read.flatten(2))


class Layer(nn.Module):
    """Self-attention, text, feed-forward; the first and the last modulated by the noise level."""

    def __init__(self, width: int, *, heads: int, ffn: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.modulation = nn.Parameter(torch.randn(1, 6, width) / math.sqrt(width))
        self.video = Attention(width, heads=heads, eps=eps)
        self.text_norm = nn.LayerNorm(width, eps=eps)
        self.text = Attention(width, heads=heads, eps=eps)
        self.ffn = MLP(width, ffn, width)

    def forward(
        self,
        x: Stream,
        modulation: Modulation,
        *,
        turn: Rotation,
        plan: MaskPlan | None,
        past: Past | None,
        text: KeysValues | Float[Tensor, "b s e"],
        reads: Bool[Tensor, "b l s"] | None,
        until: Until = "end",
        spread: Spread = ALONE,
    ) -> Stream:
        """The stream after this layer.

        Args:
            x: the stream before it.
            modulation: what the noise level of each frame asks for.
            turn: rotary positions of the tokens.
            plan: which frames see which; None: all see all.
            past: what came before these frames; None: nothing.
            text: this layer's keys and values of the text, or the text of which to make them.
            reads: which rows of the text each token reads; None: all.
            until: "keys" leaves once the past has the keys of these frames, with the stream as it came.
            spread: which of the tokens are here.
        """
        once = _anew if past is None else past.once
        shift, factor, gate, ffn_shift, ffn_factor, ffn_gate = once(
            ("modulation", modulation), lambda: self._modulation(modulation)
        )
        frames = x.shape[1:3]
        y = modulate(x, shift, factor, eps=self.eps).flatten(1, 2)
        if until == "keys":
            self.video.read_video(y, turn, past=past)
            return x
        y = self.video.over_video(y, turn, plan=plan, past=past, spread=spread)
        x = torch.addcmul(x, gate, y.unflatten(1, frames).to(x.dtype))
        norm = self.text_norm
        y = layer_norm(x, x.shape[-1:], wide(norm.weight), wide(norm.bias), norm.eps)
        read = self.text.read_text(text) if isinstance(text, Tensor) else text
        x = x + self.text.over_text(y.flatten(1, 2), read, reads=reads).unflatten(1, frames)
        y = product(self.ffn.up, modulate(x, ffn_shift, ffn_factor, eps=self.eps))
        y = product(self.ffn.down, gelu(y, approximate="tanh"))
        return torch.addcmul(x, ffn_gate, y.to(x.dtype))

    def read_text(self, text: Float[Tensor, "b s e"]) -> KeysValues:
        """This layer's keys and values of a text, for passes that share them."""
        return self.text.read_text(text)

    def _modulation(self, shared: Modulation) -> tuple[PerFrame, ...]:
        """Shift, factor and gate for attention, then for the feed-forward."""
        shift, scale, gate, *ffn = (wide(self.modulation) + shared)[:, :, :, None].unbind(2)
        ffn_shift, ffn_scale, ffn_gate = ffn
        return shift, 1 + scale, gate, ffn_shift, 1 + ffn_scale, ffn_gate


def _anew(key: Hashable, compute: Callable[[], T]) -> T:
    """The same without a past that keeps results."""
    return compute()
