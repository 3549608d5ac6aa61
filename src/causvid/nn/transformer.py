"""The video network: a diffusion transformer in the shape of Wan 2.1.

One `forward` serves every use. Without a mask all frames see all frames (the
teacher); with one, training sees what generation will see; with a cache, the input
is one chunk and the past is remembered. Every latent frame has its own noise level.

Matrix products and attention run in the weights' dtype, or in autocast's. The
residual stream, norms, modulation and the time network stay in float32 (float64 in a
float64 model): `wide` marks these places.

Source: Wan 2.1, arXiv:2503.20314; per-frame noise levels: CausVid, arXiv:2412.07772.
"""

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, linear, silu
from torch.utils.checkpoint import checkpoint

from causvid.errors import UserError
from causvid.flow.schedule import wide
from causvid.nn.attention import MaskPlan, attention, attention_where, plan_mask
from causvid.nn.cache import KVCache, Past, TextKeys
from causvid.nn.rope import Rotation, rotate, rotation
from causvid.nn.text import TextTokens
from causvid.types import FrameIndex, FrameMask, Latents, Sigma

Stream = Float[Tensor, "b f t e"]
"""The residual stream: t tokens in each latent frame."""
Modulation = Float[Tensor, "b f k e"]
"""Shift, scale and gate of every latent frame."""

TIMESTEP_SCALE = 1000
"""The network was trained on timesteps 0 ... 1000. Nothing else in the package knows of them."""


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """The sizes of a `VideoTransformer`. Wan 2.1 1.3B: width 1536, 30 layers, 12 heads, ffn 8960."""

    width: int
    layers: int
    heads: int
    ffn: int
    latent_channels: int = 16
    patch: tuple[int, int, int] = (1, 2, 2)
    text_width: int = 4096
    text_rows: int = 512
    frequency_width: int = 256
    eps: float = 1e-6
    rope_base: float = 10000.0

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width // self.heads % 2:
            raise UserError(f"transformer.width {self.width} does not split into {self.heads} heads of even size.")
        if self.patch[0] != 1:
            raise UserError(f"transformer.patch is {self.patch}; its first number must be 1, a noise level per frame.")
        if self.frequency_width % 2:
            raise UserError(f"transformer.frequency_width is {self.frequency_width}; it must be even.")


def product(layer: nn.Linear, x: Float[Tensor, "*any i"]) -> Float[Tensor, "*any o"]:
    """A matrix product in the weights' dtype, or autocast's."""
    if not torch.is_autocast_enabled(x.device.type):
        x = x.to(layer.weight.dtype)
    return layer(x)


def wide_product(layer: nn.Linear, x: Float[Tensor, "*any i"]) -> Float[Tensor, "*any o"]:
    """A matrix product in float32 at least, whatever autocast says."""
    with torch.autocast(x.device.type, enabled=False):
        return linear(wide(x).to(wide(layer.weight).dtype), wide(layer.weight), wide(layer.bias))


def modulate(x: Stream, shift: Float[Tensor, "b f e"], scale: Float[Tensor, "b f e"], *, eps: float) -> Stream:
    """Normalised over the width, times 1 + scale, plus shift."""
    return torch.addcmul(shift[:, :, None], layer_norm(x, x.shape[-1:], eps=eps), 1 + scale[:, :, None])


class RMSNorm(nn.Module):
    """x / sqrt(mean x²), times a weight; over the full width, before the heads are split."""

    def __init__(self, width: int, *, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*any e"]) -> Float[Tensor, "*any e"]:
        x = wide(x)
        return x * (x.square().mean(-1, keepdim=True) + self.eps).rsqrt() * wide(self.weight)


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

    def split(self, x: Float[Tensor, "b l e"]) -> Float[Tensor, "b l n d"]:
        return x.unflatten(-1, (self.heads, -1))

    def over_video(self, x: Float[Tensor, "b l e"], turn: Rotation, plan: MaskPlan | None, past: Past | None) -> Tensor:
        """Self-attention of the frames in x, and of their past."""
        v = self.split(product(self.value, x))
        q = rotate(self.split(self.query_norm(product(self.query, x))), turn).to(v.dtype)
        unrotated = self.split(self.key_norm(product(self.key, x)))
        k = rotate(unrotated, turn).to(v.dtype)
        if past is not None:
            k, v = past.join(k, v, unrotated=unrotated)
        return product(self.out, attention(q, k, v, plan=plan).flatten(2))

    def read_text(self, text: Float[Tensor, "b s e"]) -> tuple[Tensor, Tensor]:
        """Keys and values of the text."""
        v = self.split(product(self.value, text))
        return self.split(self.key_norm(product(self.key, text))).to(v.dtype), v

    def over_text(self, x: Float[Tensor, "b l e"], k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Cross-attention; the mask says which token reads which row, where a prompt has parts."""
        q = self.split(self.query_norm(product(self.query, x))).to(v.dtype)
        read = attention(q, k, v) if mask is None else attention_where(q, k, v, mask=mask)
        return product(self.out, read.flatten(2))


class Layer(nn.Module):
    """Self-attention, text, feed-forward; the first and the last modulated by the noise level."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width, self.eps = config.width, config.eps
        self.modulation = nn.Parameter(torch.randn(1, 6, width) / math.sqrt(width))
        self.video = Attention(width, heads=config.heads, eps=config.eps)
        self.text_norm = nn.LayerNorm(width, eps=config.eps)
        self.text = Attention(width, heads=config.heads, eps=config.eps)
        self.ffn = MLP(width, config.ffn, width)

    def forward(
        self,
        x: Stream,
        modulation: Modulation,
        turn: Rotation,
        plan: MaskPlan | None,
        past: Past | None,
        text: tuple[Tensor, Tensor],
        reads: Tensor | None,
    ) -> Stream:
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (wide(self.modulation) + modulation).unbind(2)
        frames = x.shape[1:3]
        y = self.video.over_video(modulate(x, shift, scale, eps=self.eps).flatten(1, 2), turn, plan, past)
        x = torch.addcmul(x, gate[:, :, None], y.unflatten(1, frames).to(x.dtype))
        norm = self.text_norm
        y = layer_norm(x, x.shape[-1:], wide(norm.weight), wide(norm.bias), norm.eps)
        x = x + self.text.over_text(y.flatten(1, 2), *text, reads).unflatten(1, frames)
        y = product(self.ffn.up, modulate(x, ffn_shift, ffn_scale, eps=self.eps))
        y = product(self.ffn.down, gelu(y, approximate="tanh"))
        return torch.addcmul(x, ffn_gate[:, :, None], y.to(x.dtype))


class VideoTransformer(nn.Module):
    """Noisy latents, noise levels and text in; velocity out."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        width, patch = config.width, config.patch
        self.patch_in = nn.Conv3d(config.latent_channels, width, patch, patch)
        self.text_in = MLP(config.text_width, width, width)
        self.time_in = MLP(config.frequency_width, width, width)
        self.time_modulation = nn.Linear(width, 6 * width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.out_modulation = nn.Parameter(torch.randn(1, 2, width) / math.sqrt(width))
        self.out = nn.Linear(width, config.latent_channels * math.prod(patch))
        self._recompute = False
        self._initialise()

    def _initialise(self) -> None:
        """As Wan 2.1 does: the first output is zero, the predicted velocity of no motion."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_in.weight.flatten(1))
        for layer in (self.text_in.up, self.text_in.down, self.time_in.up, self.time_in.down):
            nn.init.normal_(layer.weight, std=0.02)
        nn.init.zeros_(self.out.weight)

    def activation_checkpointing(self, on: bool) -> None:
        """Trade time for memory: recompute each layer in backward instead of keeping what it computed."""
        self._recompute = on

    def cast(self, dtype: torch.dtype) -> "VideoTransformer":
        """Store the weights of matrix products in this dtype; those of the float32 places stay as they are."""
        for module in (*self._narrow(),):
            module.to(dtype)
        return self

    def _narrow(self) -> list[nn.Module]:
        inner = [m for layer in self.layers for m in layer.modules() if isinstance(m, nn.Linear)]
        return [self.patch_in, self.text_in, *inner]

    def forward(
        self,
        x: Latents,
        sigma: Sigma,
        text: TextTokens,
        *,
        frames: FrameIndex | None = None,
        mask: FrameMask | None = None,
        cache: KVCache | None = None,
    ) -> Latents:
        """The velocity noise - x0 at these latents.

        Args:
            x: noisy latents; any height and width that are multiples of the patch.
            sigma: noise level of each frame.
            text: what the video shows.
            frames: absolute frame numbers, 0, 1, ... by default; repeats are allowed.
            mask: which frames see which. None: all see all.
            cache: the past of this chunk, instead of frames and mask. The caller commits.
        """
        if cache is not None and (frames is not None or mask is not None):
            raise ValueError("with a cache, frames and mask follow from it; do not pass them.")
        if frames is None:
            first = 0 if cache is None else cache.frames
            frames = torch.arange(first, first + x.shape[1])
        height, width = self._grid(x)
        stream = self._embed(x)
        turn = self._rotation(frames, height, width, stream)
        time, modulation = self._time(sigma)
        plan = None if mask is None or bool(mask.all()) else plan_mask(mask)
        tracked = torch.is_grad_enabled() and self._tracks(x, sigma, text.tokens)
        pasts = [None] * len(self.layers) if cache is None else self._past(cache, height, width, stream, tracked)
        texts = self._texts(text) if cache is None or tracked else cache.text(text.tokens, lambda: self._texts(text))
        reads = self._reads(text, stream)
        for layer, past, read in zip(self.layers, pasts, texts, strict=True):
            arguments = (stream, modulation, turn, plan, past, read, reads)
            recompute = self._recompute and tracked
            stream = checkpoint(layer, *arguments, use_reentrant=False) if recompute else layer(*arguments)
        return self._velocity(stream, time, height)

    def _tracks(self, *inputs: Tensor) -> bool:
        return any(x.requires_grad for x in inputs) or any(p.requires_grad for p in self.parameters())

    def _grid(self, x: Latents) -> tuple[int, int]:
        """Rows and columns of tokens."""
        channels, height, width = x.shape[2:]
        _, rows, columns = self.config.patch
        if channels != self.config.latent_channels or height % rows or width % columns:
            raise UserError(
                f"latents of {channels} channels, {height}x{width}: the network takes "
                f"{self.config.latent_channels} channels and multiples of {rows}x{columns}."
            )
        return height // rows, width // columns

    def _embed(self, x: Latents) -> Stream:
        _, p, q = self.config.patch
        patches = rearrange(wide(x), "b f c (h p) (w q) -> b f (h w) (c p q)", p=p, q=q)
        weight = self.patch_in.weight.flatten(1)
        if not torch.is_autocast_enabled(x.device.type):
            patches = patches.to(weight.dtype)
        return wide(linear(patches, weight, self.patch_in.bias))

    def _rotation(self, frames: Tensor, height: int, width: int, like: Tensor) -> Rotation:
        head = self.config.width // self.config.heads
        return rotation(frames, height, width, head=head, base=self.config.rope_base, like=like)

    def _time(self, sigma: Sigma) -> tuple[Float[Tensor, "b f e"], Modulation]:
        """The embedding of each frame's noise level, and what every layer's modulation starts from."""
        half = self.config.frequency_width // 2
        timestep = (sigma * TIMESTEP_SCALE).double()
        speed = 10000.0 ** (-torch.arange(half, dtype=torch.float64, device=sigma.device) / half)
        angle = timestep[..., None] * speed
        waves = torch.cat([angle.cos(), angle.sin()], -1).to(wide(self.time_in.up.weight).dtype)
        time = wide_product(self.time_in.down, silu(wide_product(self.time_in.up, waves)))
        return time, wide_product(self.time_modulation, silu(time)).unflatten(-1, (6, -1))

    def _past(self, cache: KVCache, height: int, width: int, stream: Stream, tracked: bool) -> list[Past]:
        count = stream.shape[1]
        shift = cache.sink_shift(count)

        def turn_sink(keys: Tensor) -> Tensor:
            return rotate(keys, sink)

        sink = self._rotation(torch.arange(cache.layout.sink_frames) + shift, height, width, stream)
        return cache.past(count, sink_rotation=turn_sink, writes=not tracked)

    def _texts(self, text: TextTokens) -> TextKeys:
        """Every layer's keys and values of the text; the parts of a prompt one after the other."""
        tokens, rows = text.tokens, self.config.text_rows
        if tokens.shape[-2] > rows or tokens.shape[-1] != self.config.text_width:
            raise UserError(
                f"text of {tokens.shape[-2]} rows of {tokens.shape[-1]}: the network reads "
                f"at most {rows} rows of {self.config.text_width}."
            )
        tokens = nn.functional.pad(tokens, (0, 0, 0, rows - tokens.shape[-2]))
        hidden = gelu(product(self.text_in.up, tokens), approximate="tanh")
        embedded = product(self.text_in.down, hidden).flatten(1, -2)
        return [layer.text.read_text(embedded) for layer in self.layers]

    def _reads(self, text: TextTokens, stream: Stream) -> Tensor | None:
        """Which text row each token reads, where a prompt has several parts."""
        if text.tokens.ndim == 3 or text.tokens.shape[1] == 1:
            return None
        if text.parts is None or text.parts.shape[1] != stream.shape[1]:
            raise ValueError("a prompt with parts needs `parts`, one number for each frame of this call.")
        parts = text.parts.to(stream.device).repeat_interleave(stream.shape[2], 1)
        row = torch.arange(text.tokens.shape[1], device=stream.device).repeat_interleave(self.config.text_rows)
        return parts[..., None] == row

    def _velocity(self, stream: Stream, time: Float[Tensor, "b f e"], height: int) -> Latents:
        shift, scale = (wide(self.out_modulation) + time[:, :, None]).unbind(2)
        patches = wide_product(self.out, modulate(stream, shift, scale, eps=self.config.eps))
        _, p, q = self.config.patch
        return rearrange(patches, "b f (h w) (p q c) -> b f c (h p) (w q)", h=height, p=p, q=q)
