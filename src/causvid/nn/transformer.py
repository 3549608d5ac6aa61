"""The video network: a diffusion transformer in the shape of Wan 2.1.

One `forward` serves every use. Without a mask all frames see all frames (the
teacher); with one, training sees what generation will see; with a cache, the input
is one chunk and the past is remembered. Every latent frame has its own noise level.

Sizes come from the configuration and the input, never from a known model.

Source: Wan 2.1, arXiv:2503.20314; per-frame noise levels: CausVid, arXiv:2412.07772.
"""

import math
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, pad, silu
from torch.utils.checkpoint import checkpoint

from causvid.errors import UserError
from causvid.flow.schedule import wide
from causvid.nn.attention import MaskPlan, plan_mask
from causvid.nn.cache import KVCache, TextKeys
from causvid.nn.layer import (
    ALONE,
    MLP,
    Layer,
    Modulation,
    Stream,
    Until,
    autocasts,
    modulate,
    product,
    wide_product,
)
from causvid.nn.ring import Past
from causvid.nn.rope import Rotation, rotate, rotation
from causvid.nn.spread import Spread, Spreads
from causvid.nn.text import TextTokens, rows_read
from causvid.types import FrameIndex, FrameMask, Latents, Sigma

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
        for name in ("width", "layers", "heads", "ffn", "latent_channels", "text_width", "text_rows"):
            if getattr(self, name) < 1:
                raise UserError(f"transformer.{name} is {getattr(self, name)}; it must be 1 or more.")
        if self.width % self.heads or self.width // self.heads % 2:
            raise UserError(f"transformer: a width of {self.width} has no {self.heads} heads of even size.")
        if self.patch[0] != 1:
            raise UserError(f"transformer.patch is {self.patch}; its first number, of frames, must be 1.")
        if self.frequency_width < 2 or self.frequency_width % 2:
            raise UserError(
                f"transformer.frequency_width is {self.frequency_width}; it must be even, 2 or more."
            )


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
        self.layers = nn.ModuleList(
            Layer(width, heads=config.heads, ffn=config.ffn, eps=config.eps) for _ in range(config.layers)
        )
        self.out_modulation = nn.Parameter(torch.randn(1, 2, width) / math.sqrt(width))
        self.out = nn.Linear(width, config.latent_channels * math.prod(patch))
        self._recompute = False
        self._spreads: Spreads | None = None
        self._initialise()

    def _initialise(self) -> None:
        """As Wan 2.1 does: gates start small and the first output is zero."""
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

    def divide(self, spreads: Spreads) -> None:
        """Share every pass without a cache with other processes, which make the same calls."""
        self._spreads = spreads

    def cast(self, dtype: torch.dtype) -> "VideoTransformer":
        """Store the weights of matrix products in this dtype.

        Those of norms, modulation, the time network and the output stay as they are.
        """
        inner = [m for layer in self.layers for m in layer.modules() if isinstance(m, nn.Linear)]
        for module in (self.patch_in, self.text_in, *inner):
            module.to(dtype)
        return self

    def lay_together(self) -> "VideoTransformer":
        """Arrange the weights so that a pass without grad makes queries, keys and values at once."""
        for layer in self.layers:
            cast(Layer, layer).video.lay_together()
        return self

    def forward(
        self,
        x: Latents,
        sigma: Sigma,
        text: TextTokens,
        *,
        frames: FrameIndex | None = None,
        mask: FrameMask | None = None,
        cache: KVCache | None = None,
        until: Until = "end",
        ahead: int = 0,
    ) -> Latents:
        """The velocity noise - x0 at these latents.

        Args:
            x: noisy latents; any height and width that are multiples of the patch.
            sigma: noise level of each frame.
            text: what the video shows.
            frames: absolute frame numbers, 0, 1, ... by default; repeats are allowed.
            mask: which frames see which. None: all see all.
            cache: the past of this chunk, instead of frames and mask. The caller commits.
            until: "keys" stops when the cache has all it needs, for a pass whose velocity nobody
                wants; zeros are returned.
            ahead: with a cache, and without grad: how many of these frames, at the end, are the chunk
                after the next. It sees the next one, and only that one is for the caller to commit.
        """
        if cache is not None and (frames is not None or mask is not None):
            raise ValueError("with a cache, frames and mask follow from it; do not pass them.")
        height, width = self._grid(x)
        tracked = torch.is_grad_enabled() and self._tracks(x, sigma, text.tokens)
        kept = None if tracked else cache
        spread = ALONE if self._spreads is None or cache is not None else self._spreads(x.shape[1])
        stream = self._embed(x)
        time, modulation = (
            self._time(sigma) if kept is None else kept.of_level(("time", sigma), lambda: self._time(sigma))
        )
        turn = self._turn(frames, cache, kept, stream, height, width)
        stream = spread.part(stream)
        shared = {
            "turn": spread.turn(turn),
            "plan": self._plan(mask, cache, x.shape[1], ahead),
            "reads": rows_read(text, *stream.shape[1:3], rows=self.config.text_rows, device=stream.device),
            "spread": spread,
        }
        pasts = self._pasts(cache, height, width, stream, tracked, ahead)
        last = len(self.layers) - 1
        for n, (layer, past, read) in enumerate(
            zip(self.layers, pasts, self._texts(text, kept), strict=True)
        ):
            how_far: Until = until if n == last else "end"
            run = partial(layer, past=past, text=read, until=how_far, **shared)
            if self._recompute and tracked:
                stream = checkpoint(run, stream, modulation, use_reentrant=False)
            else:
                stream = run(stream, modulation)
        return torch.zeros_like(x) if until == "keys" else self._velocity(stream, time, height, spread)

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
        if not autocasts(x):
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

    def _turn(
        self,
        frames: FrameIndex | None,
        cache: KVCache | None,
        kept: KVCache | None,
        stream: Stream,
        height: int,
        width: int,
    ) -> Rotation:
        """The rotation of this call's tokens; every step of a chunk has the same."""
        count, start = stream.shape[1], 0 if cache is None else cache.frames
        numbers = torch.arange(start, start + count) if frames is None else frames

        def turn() -> Rotation:
            return self._rotation(numbers, height, width, stream)

        return turn() if kept is None else kept.of_place((start, count, height, width), turn)

    def _plan(self, mask: FrameMask | None, cache: KVCache | None, count: int, ahead: int) -> MaskPlan | None:
        """Which frames see which, unless all see all."""
        if cache is not None and ahead:
            mask = cache.mask_of_two(count - ahead, ahead)
        return None if mask is None or bool(mask.all()) else plan_mask(mask)

    def _pasts(
        self, cache: KVCache | None, height: int, width: int, stream: Stream, tracked: bool, ahead: int
    ) -> list[Past] | list[None]:
        """What each layer remembers, with the sink turned to where this call wants it."""
        if cache is None:
            return [None] * len(self.layers)
        assert not (ahead and tracked), "a pass over two chunks writes the first one"
        sink = torch.arange(cache.layout.sink_frames) + cache.sink_shift(stream.shape[1] - ahead)
        turn = lru_cache(lambda: self._rotation(sink, height, width, stream))  # most calls need none
        return cache.past(
            stream.shape[1],
            sink_rotation=lambda keys: rotate(keys, turn()),
            writes=not tracked,
            ahead=ahead,
        )

    def _texts(self, text: TextTokens, cache: KVCache | None) -> TextKeys | list[Tensor]:
        """Every layer's keys and values of the text; the parts of a prompt one after the other.

        Without a cache that keeps them, the text itself: each layer makes its own when its turn comes.
        """

        def embed() -> Tensor:
            tokens = pad(text.tokens, (0, 0, 0, self.config.text_rows - rows))
            hidden = gelu(product(self.text_in.up, tokens), approximate="tanh")
            return product(self.text_in.down, hidden).flatten(1, -2)

        def compute() -> TextKeys:
            embedded = embed()
            return [cast(Layer, layer).read_text(embedded) for layer in self.layers]

        rows, width = text.tokens.shape[-2:]
        if rows > self.config.text_rows or width != self.config.text_width:
            raise UserError(
                f"text of {rows} rows of {width}: the network reads at most {self.config.text_rows} rows "
                f"of {self.config.text_width}."
            )
        return [embed()] * len(self.layers) if cache is None else cache.text(text.tokens, compute)

    def _velocity(self, stream: Stream, time: Float[Tensor, "b f e"], height: int, spread: Spread) -> Latents:
        shift, scale = (wide(self.out_modulation) + time[:, :, None])[:, :, :, None].unbind(2)
        patches = spread.whole(
            wide_product(self.out, modulate(stream, shift, 1 + scale, eps=self.config.eps))
        )
        _, p, q = self.config.patch
        return rearrange(patches, "b f (h w) (p q c) -> b f c (h p) (w q)", h=height, p=p, q=q)
