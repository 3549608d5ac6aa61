"""The sizes of Wan's networks: read off the shapes of weights, and said in other programs' words.

What shapes cannot say (how many heads, the statistics of latents) comes from a
`config.json` beside the weights; without one it is what every released Wan 2.1 has.
Where both say something they must agree.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from causvid.errors import UserError
from causvid.models.vae_wan import WAN_MEAN, WanVAEConfig
from causvid.nn.transformer import TransformerConfig

HEAD = 128
"""Width of a head in every released Wan 2.1."""
TEXT_ROWS = 512
Shapes = Mapping[str, tuple[int, ...]]


def transformer_sizes(shapes: Shapes, said: Mapping[str, Any], *, where: str) -> TransformerConfig:
    """The configuration of a transformer with weights of these shapes.

    Args:
        shapes: by our names.
        said: the content of its config.json, in diffusers' words or in those of the release; or nothing.
        where: how to call it in an error.

    Raises:
        UserError: weights are missing, or the two disagree.
    """
    patch_in, up = _shape(shapes, "patch_in.weight", where), _shape(shapes, "layers.0.ffn.up.weight", where)
    width = patch_in[0]
    read_off = {
        "width": width,
        "layers": _count(shapes, "layers"),
        "ffn": up[0],
        "latent_channels": patch_in[1],
        "patch": patch_in[2:],
        "text_width": _shape(shapes, "text_in.up.weight", where)[1],
        "frequency_width": _shape(shapes, "time_in.up.weight", where)[1],
    }
    theirs = _transformer_said(said)
    for key, value in read_off.items():
        if key in theirs and theirs[key] != value:
            raise UserError(f"{where}: config.json says {key} {theirs[key]}, the weights have {value}.")
    heads = theirs.pop("heads", max(1, width // HEAD))
    config = TransformerConfig(**{"text_rows": TEXT_ROWS, **theirs, **read_off, "heads": heads})
    out = _shape(shapes, "out.weight", where)[0]
    if out != config.latent_channels * config.patch[1] * config.patch[2]:
        raise UserError(
            f"{where} turns {config.latent_channels} channels into others: no text-to-video model."
        )
    return config


def _transformer_said(said: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json in our words."""
    words = {
        "dim": "width",
        "num_layers": "layers",
        "num_heads": "heads",
        "num_attention_heads": "heads",
        "ffn_dim": "ffn",
        "in_dim": "latent_channels",
        "in_channels": "latent_channels",
        "text_dim": "text_width",
        "text_len": "text_rows",
        "freq_dim": "frequency_width",
        "eps": "eps",
    }
    found = {ours: said[theirs] for theirs, ours in words.items() if said.get(theirs) is not None}
    if said.get("patch_size") is not None:
        found["patch"] = tuple(said["patch_size"])
    if "num_attention_heads" in said and "attention_head_dim" in said:
        found["width"] = said["num_attention_heads"] * said["attention_head_dim"]
    return found


def transformer_words(config: TransformerConfig, layout: str) -> dict[str, Any]:
    """The content of config.json for a transformer in another program's layout."""
    shared = {
        "eps": config.eps,
        "ffn_dim": config.ffn,
        "freq_dim": config.frequency_width,
        "num_layers": config.layers,
        "patch_size": list(config.patch),
        "text_dim": config.text_width,
    }
    if layout == "original":
        return {
            **shared,
            "_class_name": "WanModel",
            "dim": config.width,
            "in_dim": config.latent_channels,
            "model_type": "t2v",
            "num_heads": config.heads,
            "out_dim": config.latent_channels,
            "text_len": config.text_rows,
        }
    return {
        **shared,
        "_class_name": "WanTransformer3DModel",
        "added_kv_proj_dim": None,
        "attention_head_dim": config.width // config.heads,
        "cross_attn_norm": True,
        "image_dim": None,
        "in_channels": config.latent_channels,
        "num_attention_heads": config.heads,
        "out_channels": config.latent_channels,
        "qk_norm": "rms_norm_across_heads",
        "rope_max_seq_len": 1024,
    }


def vae_sizes(shapes: Shapes, said: Mapping[str, Any], *, where: str) -> WanVAEConfig:
    """The configuration of an autoencoder with weights of these shapes (by our names).

    Raises:
        UserError: weights are missing, the two disagree, or the latents' statistics are nowhere.
    """
    width = _shape(shapes, "encode_raw.enter.weight", where)[0]
    channels = _shape(shapes, "from_latents.weight", where)[0]
    steps = [
        n for n in range(_count(shapes, "encode_raw.down")) if f"encode_raw.down.{n}.space.weight" in shapes
    ]
    if not steps:
        raise UserError(f"{where}: its encoder never halves the size, as that of Wan 2.1 does.")
    blocks = steps[0]
    levels = [
        _shape(shapes, f"encode_raw.down.{first}.conv_1.weight", where)[0] // width
        for first in (0, *(step + 1 for step in steps))
    ]
    read_off = {
        "latent_channels": channels,
        "width": width,
        "multipliers": tuple(levels),
        "blocks": blocks,
        "halves_time": tuple(f"encode_raw.down.{n}.time.weight" in shapes for n in steps),
    }
    theirs = _vae_said(said)
    for key, value in read_off.items():
        if key in theirs and theirs[key] != value:
            raise UserError(f"{where}: config.json says {key} {theirs[key]}, the weights have {value}.")
    if "mean" not in theirs and channels != len(WAN_MEAN):
        raise UserError(
            f"{where} has {channels} latent channels whose mean and deviation are unknown; "
            "put its config.json (latents_mean, latents_std) beside it."
        )
    return WanVAEConfig(**{**theirs, **read_off})


def _vae_said(said: Mapping[str, Any]) -> dict[str, Any]:
    words = {
        "z_dim": "latent_channels",
        "base_dim": "width",
        "dim_mult": "multipliers",
        "num_res_blocks": "blocks",
        "temperal_downsample": "halves_time",
        "latents_mean": "mean",
        "latents_std": "std",
    }
    found = {ours: said[theirs] for theirs, ours in words.items() if said.get(theirs) is not None}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}


def vae_words(config: WanVAEConfig) -> dict[str, Any]:
    """The content of diffusers' config.json for an autoencoder."""
    return {
        "_class_name": "AutoencoderKLWan",
        "attn_scales": [],
        "base_dim": config.width,
        "dim_mult": list(config.multipliers),
        "dropout": 0.0,
        "latents_mean": list(config.mean),
        "latents_std": list(config.std),
        "num_res_blocks": config.blocks,
        "scale_factor_spatial": config.geometry.spatial_stride,
        "scale_factor_temporal": config.geometry.temporal_stride,
        "temperal_downsample": list(config.halves_time),
        "z_dim": config.latent_channels,
    }


def _shape(shapes: Shapes, name: str, where: str) -> tuple[int, ...]:
    if name not in shapes:
        raise UserError(f"{where} lacks {name!r} (by our name), from which its size is read.")
    return shapes[name]


def _count(names: Iterable[str], list_name: str) -> int:
    """How long a numbered list of layers is."""
    start = list_name + "."
    return 1 + max((int(n[len(start) :].split(".")[0]) for n in names if n.startswith(start)), default=-1)
