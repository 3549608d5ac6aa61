"""A small umT5 with random weights and a tokenizer of a few words, on disk as the real ones are."""

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import UMT5Config, UMT5EncoderModel

from causvid.weights.layouts_umt5 import TIED, translate

WORDS = ("<pad>", "</s>", "<unk>", "a", "red", "blue", "ball", "box", "on", "the", "sand", "&", "'", "'s")
WIDTH = 16


@dataclass(frozen=True)
class TinyUMT5:
    """Where everything is, and what must come out."""

    transformers: Path
    """A folder, as diffusers' text_encoder."""
    shards: Path
    """The same in several files."""
    release: Path
    """A .pth, as in Wan's release."""
    tokenizer: Path
    model: UMT5EncoderModel


def tiny_umt5(folder: Path, *, seed: int = 0, farthest: int = 128) -> TinyUMT5:
    """Written by transformers and tokenizers themselves.

    Args:
        folder: where to.
        seed: of the weights.
        farthest: the distance from which on all tokens are equally far; 128 in the published model.
    """
    torch.manual_seed(seed)
    config = UMT5Config(
        vocab_size=len(WORDS) + 2,
        d_model=WIDTH,
        d_kv=6,
        d_ff=24,
        num_layers=2,
        num_heads=3,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=farthest,
    )
    model = UMT5EncoderModel(config).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    model.save_pretrained(folder / "text_encoder")
    model.save_pretrained(folder / "shards", max_shard_size="4KB")
    names = [name for name in model.state_dict() if name != TIED]
    original = {translate(name, source="transformers", target="original"): name for name in names}
    torch.save({theirs: model.state_dict()[name] for theirs, name in original.items()}, folder / "umt5.pth")
    (folder / "tokenizer").mkdir()
    tokenizer().save(str(folder / "tokenizer" / "tokenizer.json"))
    return TinyUMT5(
        folder / "text_encoder", folder / "shards", folder / "umt5.pth", folder / "tokenizer", model
    )


def tokenizer() -> Tokenizer:
    """Whole words; like Wan's it ends a prompt with </s>, and its file asks for padding we do not want."""
    made = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    made.enable_padding(length=9)
    return made
