"""docs/serving.md names everything a client can meet: messages, addresses, limits, metrics, flags."""

import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

pytest.importorskip("fastapi", reason="the serve extra is not installed")

from causvid.commands.serving import serve
from causvid.serve import protocol
from causvid.serve.limits import Limits

ROOT = Path(__file__).parents[1]
SERVE = ROOT / "src/causvid/serve"
SOURCE = "\n".join(path.read_text() for path in sorted(SERVE.glob("*.py")))
PAGE = (ROOT / "docs/serving.md").read_text()


def named(word):
    return re.search(rf"`[^`\n]*(?<![\w-]){re.escape(word)}(?![\w-])[^`\n]*`", PAGE) is not None


def test_every_message_of_a_client_and_its_keys_are_described():
    messages = get_args(protocol.Message)
    assert len(messages) > 10
    for message in messages:
        kind = get_args(message.model_fields["type"].annotation)[0]
        assert named(kind), kind
        assert all(named(key) for key in message.model_fields if key != "type"), message


def test_every_message_of_the_server_is_described():
    kinds = set(re.findall(r'"type": "(\w+)"', SOURCE)) - {"string"}
    assert {"welcome", "chunk", "stopped", "error"} <= kinds
    assert [kind for kind in kinds if not named(kind)] == []


def test_every_code_of_an_error_on_the_socket_is_described():
    codes = set(re.findall(r'(?:Farewell|complain|part)\(\s*"(\w+)"', SOURCE))
    codes |= set(re.findall(r'return "(\w+)", ', (SERVE / "engine.py").read_text()))
    assert {"protocol", "refused", "busy"} <= codes
    assert [code for code in codes if not named(code)] == []


def test_every_address_is_described():
    addresses = re.findall(r'\.(get|post|delete|websocket)\(\s*"(/[^"]*)"', SOURCE)
    assert len(addresses) > 10
    described = re.findall(r"`(GET|POST|DELETE) ([^`?]+)[^`]*`", PAGE)
    for verb, address in addresses:
        if verb == "websocket":
            assert named(address)
        else:
            assert (verb.upper(), address) in described, address


def test_no_address_is_described_that_there_is_not():
    for _, address in re.findall(r"`(GET|POST|DELETE) ([^`? ]+)", PAGE):
        assert f'"{address}"' in SOURCE, address


def test_every_limit_is_described_with_its_default():
    for field in fields(Limits):
        said = re.search(rf"`{field.name}` ([\d×]+)( [KMG]iB)?", PAGE)
        assert said, field.name
        number = 1
        for factor in said[1].split("×"):
            number *= int(factor)
        unit = {None: 1, " KiB": 2**10, " MiB": 2**20, " GiB": 2**30}[said[2]]
        assert number * unit == field.default, field.name


def test_every_metric_is_described():
    source = (SERVE / "metrics.py").read_text() + (SERVE / "service.py").read_text()
    metrics = set(re.findall(r'"causvid_(\w+)"', source)) | set(re.findall(r'\bwatch\("(\w+)"', source))
    assert len(metrics) > 10
    assert [name for name in metrics if not (named(name) or named(f"{name}_total"))] == []


def test_every_flag_of_the_verb_is_described():
    flags = [name for name in inspect.signature(serve).parameters if name != "model"]
    assert [flag for flag in flags if not named("--" + flag.replace("_", "-"))] == []


def test_every_file_that_is_linked_exists():
    links = re.findall(r"\]\(([^)#]+)\)", PAGE) + re.findall(r"python (benchmarks/\S+\.py)", PAGE)
    assert links and all((ROOT / "docs" / link).exists() or (ROOT / link).exists() for link in links)
