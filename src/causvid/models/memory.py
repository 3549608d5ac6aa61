"""How much memory a model takes while it makes video, before anything is loaded.

Each part is a formula over sizes, with its reason. Weights, caches and what a decoder
remembers are exact; what layers hold while they compute is counted at the place where
most tensors live at once, without what kernels use inside.

Knows no machine: what is free, and what to do if it is too little, is in `room`.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import nn

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.models.memory_vae import DecoderConfig, decoder_activations, decoder_state
from causvid.models.spec import ModelSpec, UMT5Config
from causvid.models.text import TinyText, TinyTextConfig
from causvid.models.vae_tiny import TinyVAE, TinyVAEConfig
from causvid.models.vae_wan import WanVAE, WanVAEConfig
from causvid.nn.attention import PLAIN_UP_TO
from causvid.nn.transformer import TransformerConfig

FLOAT32 = 4
"""Bytes; of the residual stream, of latents, of pixels."""
UMT5_NUMBERS = 256_384 * 4096 + 24 * (4 * 4096**2 + 3 * 4096 * 10_240 + 2 * 4096 + 32 * 64) + 4096
"""Of the published umT5-XXL encoder: embedding; layers of attention, gated MLP, norms, positions; norm."""
PIXEL_COPIES = 3
"""Of a push's pictures: as decoded, clamped, and on the way to uint8."""
LATENT_COPIES = 6
"""Of a chunk's latents: x_t, x0, noise, velocity and what stands between them."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is to be made, as far as memory depends on it."""

    size: tuple[int, int]
    """Height and width in pixels."""
    frames: int
    """Latent frames: of a bidirectional model's clip, or of a stream that forgets nothing."""
    layout: ChunkLayout | None
    """None: bidirectional, the whole clip at once."""
    dtype: torch.dtype = torch.float32
    """Of the transformer's matrix products."""
    device: str = "cpu"
    """Its kind."""
    decoder: DecoderConfig | None = None
    """In place of the model's own."""

    @property
    def chunk(self) -> int:
        """Latent frames that are denoised together."""
        if self.layout is None:
            return self.frames
        return max(self.layout.first, self.layout.frames_per_chunk)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes, by what they are for."""

    weights: dict[str, int] = field(default_factory=dict)
    """By part: transformer, vae, text."""
    cache: int
    """Keys and values of the past."""
    text: int
    """Keys and values of the prompt."""
    denoising: int
    """What the transformer holds during a pass, at most."""
    remembered: int
    """What the decoder keeps between chunks."""
    decoding: int
    """What the decoder holds during a push, pictures included, at most."""

    @property
    def working(self) -> int:
        """All but weights: denoising and decoding take turns."""
        return self.cache + self.text + self.remembered + max(self.denoising, self.decoding)

    @property
    def total(self) -> int:
        return sum(self.weights.values()) + self.working


def check_size(spec: ModelSpec, size: tuple[int, int]) -> tuple[int, int]:
    """The size itself, height and width in pixels.

    Raises:
        UserError: it is not a multiple of what one token covers.
    """
    stride = 1 if spec.vae is None else spec.vae.geometry.spatial_stride
    _, rows, columns = (1, 1, 1) if spec.transformer is None else spec.transformer.patch
    height, width = size
    if height < 1 or width < 1 or height % (stride * rows) or width % (stride * columns):
        raise UserError(
            f"size {height}x{width} (height x width) does not fit this model: the height must be a positive "
            f"multiple of {stride * rows}, the width of {stride * columns}."
        )
    return size


def estimate(spec: ModelSpec, work: Workload, *, weights: dict[str, int] | None = None) -> Memory:
    """What this model takes for this work.

    Args:
        weights: bytes by part where they are known; else they are worked out.
    """
    config, vae = spec.transformer, spec.vae
    height, width = work.size
    copies = 2 if work.layout is not None and spec.guidance != 1 else 1  # one for the negative prompt
    cache = text = denoising = remembered = decoding = 0
    stride = 8 if vae is None else vae.geometry.spatial_stride
    rows, columns = height // stride, width // stride
    if config is not None:
        tokens = rows * columns // math.prod(config.patch)
        cache = copies * cache_bytes(config, work, tokens=tokens)
        text = copies * text_bytes(config, work.dtype)
        denoising = pass_bytes(config, work, tokens=work.chunk * tokens)
        denoising += LATENT_COPIES * FLOAT32 * work.chunk * config.latent_channels * rows * columns
    if vae is not None:
        frames = vae.geometry.frames_of(work.chunk, start=0 if work.layout is None else 1)
        pictures = FLOAT32 * 3 * height * width * frames
        decoder = work.decoder or vae
        remembered = decoder_state(decoder, rows, columns)
        held = decoder_activations(decoder, work.chunk, rows, columns, device=work.device)
        decoding = max(PIXEL_COPIES * pictures, pictures + held)
    return Memory(
        weights=weights_bytes(spec, work.dtype) if weights is None else weights,
        cache=cache,
        text=text,
        denoising=denoising,
        remembered=remembered,
        decoding=decoding,
    )


def weights_bytes(spec: ModelSpec, dtype: torch.dtype) -> dict[str, int]:
    """Bytes of each part once loaded, exactly. A umT5 is there only while it encodes.

    Args:
        dtype: of the transformer's matrices; what stays float32 there, and the other parts, is float32.
    """
    made: dict[str, nn.Module] = {}
    with torch.random.fork_rng(devices=[]):  # small networks are filled with random numbers
        if isinstance(spec.vae, TinyVAEConfig):
            made["vae"] = TinyVAE(spec.vae)
        if isinstance(spec.text, TinyTextConfig):
            made["text"] = TinyText(spec.text)
    if isinstance(spec.vae, WanVAEConfig):
        with torch.device("meta"):
            made["vae"] = WanVAE(spec.vae)
    found = {name: sum(x.nbytes for x in network.state_dict().values()) for name, network in made.items()}
    if spec.transformer is not None:
        wide = transformer_numbers(spec.transformer) - matrix_numbers(spec.transformer)
        found["transformer"] = FLOAT32 * wide + dtype.itemsize * matrix_numbers(spec.transformer)
    if isinstance(spec.text, UMT5Config):
        found["text"] = UMT5_NUMBERS * torch.bfloat16.itemsize
    return found


def transformer_numbers(config: TransformerConfig) -> int:
    """All parameters."""
    width, patch = config.width, config.latent_channels * math.prod(config.patch)
    of_layer = (6 + 2 + 4) * width  # modulation, the text's norm, norms of queries and keys
    time = (config.frequency_width + 1) * width + 7 * (width + 1) * width  # two products, and six outputs
    out = 2 * width + (width + 1) * patch
    return matrix_numbers(config) + config.layers * of_layer + time + out


def matrix_numbers(config: TransformerConfig) -> int:
    """Those of the products that may be stored in another type, biases included."""
    width, patch = config.width, config.latent_channels * math.prod(config.patch)
    of_layer = 8 * (width + 1) * width + 2 * width * config.ffn + config.ffn + width
    text = (config.text_width + 1) * width + (width + 1) * width
    return config.layers * of_layer + (patch + 1) * width + text


def cache_bytes(config: TransformerConfig, work: Workload, *, tokens: int) -> int:
    """Keys and values of every layer, and the sink's keys a second time if they must be turned.

    Args:
        tokens: of a latent frame.
    """
    layout = work.layout
    if layout is None:
        return 0
    slots = layout.window_frames or _doubled(layout, work.frames)
    windowed = layout.window_frames is not None and layout.positions == "windowed"
    turned = layout.sink_frames if windowed else 0
    return config.layers * (2 * slots + turned) * tokens * config.width * work.dtype.itemsize


def _doubled(layout: ChunkLayout, frames: int) -> int:
    """Slots of a cache without a window: when they run out there are twice as many as needed."""
    room = 0
    for span in layout.spans(_whole_chunks(layout, frames)):
        room = room if span.stop <= room else 2 * span.stop
    return room


def _whole_chunks(layout: ChunkLayout, frames: int) -> int:
    return (
        layout.first + -(-max(0, frames - layout.first) // layout.frames_per_chunk) * layout.frames_per_chunk
    )


def text_bytes(config: TransformerConfig, dtype: torch.dtype) -> int:
    """Keys and values of the text in every layer: all rows, padding included."""
    return config.layers * 2 * config.text_rows * config.width * dtype.itemsize


def pass_bytes(config: TransformerConfig, work: Workload, *, tokens: int) -> int:
    """The most a pass of so many tokens holds: in the self-attention or in the feed-forward of a layer.

    Beside either stand the residual stream, in float32, and the rotation, a complex number for
    each pair of a head's channels.
    """
    item, width = work.dtype.itemsize, tokens * config.width
    stream = FLOAT32 * width
    turns = FLOAT32 * tokens * (config.width // config.heads)
    # Normalised input and unrotated keys in float32, and one of them on its way; queries, keys, values.
    attention = 3 * FLOAT32 * width + 4 * item * width + _scores(config, work, tokens)
    # What goes in, before and after the GELU, what comes out.
    feed_forward = FLOAT32 * width + 2 * item * tokens * config.ffn + item * width
    return stream + turns + max(attention, feed_forward)


def _scores(config: TransformerConfig, work: Workload, tokens: int) -> int:
    """Where attention is worked out as it is written: the scores and their softmax."""
    if work.device != "cpu" or work.dtype != torch.bfloat16:
        return 0
    layout, per_frame = work.layout, tokens // work.chunk
    seen = work.frames if layout is None else layout.window_frames or work.frames
    scores = config.heads * tokens * seen * per_frame
    return 2 * scores * work.dtype.itemsize if scores <= PLAIN_UP_TO else 0
