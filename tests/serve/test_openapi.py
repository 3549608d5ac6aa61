"""Whatever is sent to the addresses of the schema, the answer is one that the schema's reader expects."""

import asyncio
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving_tools import LATER, tiny_pipeline

from causvid.serve.app import make_app
from causvid.serve.limits import Limits
from causvid.serve.service import ServeOptions, Service

EXPECTED = {200, 201, 202, 400, 401, 404, 405, 409, 413, 415, 422, 429, 507}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def server():
    """A service and its app, called without a network."""
    limits = Limits(jobs_queued=3, job_seconds=1.0, jobs_kept=4, prompt_characters=50, uploads=2)
    service = Service(tiny_pipeline, options=ServeOptions(limits=limits))
    yield service, make_app(service)
    service.close()


def ask(app, method, path, body=b"", headers=()):
    """Status and body of one request, straight to the app."""
    path, _, query = path.partition("?")
    heard = [{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}]
    said = []

    async def receive():
        return heard.pop(0) if heard else {"type": "http.disconnect"}

    async def send(message):
        said.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode("utf-8", "surrogateescape"), "query_string": query.encode(),
        "headers": [(b"host", b"localhost"), *headers],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return said[0]["status"], b"".join(message.get("body", b"") for message in said[1:])


def check(status, answer):
    assert status in EXPECTED, (status, answer)
    if status >= 400:
        error = json.loads(answer)["error"]
        assert error["code"] and error["message"] and "\n" not in error["message"]


def values(schema, definitions):
    """What a schema accepts, and what it does not."""
    if "$ref" in schema:
        return values(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return st.one_of([values(one, definitions) for one in schema["anyOf"]])
    kind = schema.get("type")
    if kind == "string":
        return st.sampled_from(["a red ball", LATER, ""]) | st.text(max_size=60)
    if kind == "integer":
        return st.integers(-1, 70) | st.integers()
    if kind == "number":
        return st.floats(0, 2) | st.floats() | st.integers(0, 2)
    if kind == "array":
        return st.lists(values(schema.get("items", {}), definitions), max_size=3) | st.just([32, 16])
    if kind == "object" and "properties" in schema:
        fields = {name: values(one, definitions) for name, one in schema["properties"].items()}
        return st.fixed_dictionaries({}, optional=fields)
    if kind == "object":
        timeline = st.fixed_dictionaries(
            {"causvid_timeline": st.just(1) | ANYTHING, "events": st.lists(ANYTHING, max_size=2)},
            optional={"seed": ANYTHING, "seconds": ANYTHING, "more": ANYTHING},
        )
        return timeline | st.dictionaries(st.text(max_size=8), ANYTHING, max_size=3)
    return st.none()


def orders(server):
    _, app = server
    schema = json.loads(ask(app, "GET", "/openapi.json")[1])
    definitions = schema["components"]["schemas"]
    body = schema["paths"]["/v1/videos"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    good = st.fixed_dictionaries({"prompt": st.just("a red ball"), "seconds": st.sampled_from([0.5, 1])})
    properties = definitions[body["$ref"].rpartition("/")[2]]["properties"]
    one_other = st.sampled_from(sorted(properties)).flatmap(
        lambda name: st.fixed_dictionaries({name: values(properties[name], definitions)})
    )
    return values(body, definitions) | st.builds(lambda a, b: a | b, good, one_other)


FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def test_any_order_gets_an_expected_answer(server):
    app = server[1]

    @FUZZ
    @given(orders(server) | ANYTHING)
    def send(order):
        body = json.dumps(order).encode()
        status, answer = ask(app, "POST", "/v1/videos", body, [(b"content-type", b"application/json")])
        check(status, answer)
        if status == 202:
            job = json.loads(answer)
            assert job["status"] in ("queued", "in_progress") and 0 <= job["progress"] <= 100
            check(*ask(app, "POST", f"/v1/videos/{job['id']}/cancel"))
            check(*ask(app, "DELETE", f"/v1/videos/{job['id']}"))

    send()


@FUZZ
@given(
    body=st.binary(max_size=200),
    kind=st.sampled_from(["application/json", "text/plain", "image/png", "x", ""]),
)
def test_any_bytes_as_an_order_get_an_expected_answer(server, body, kind):
    check(*ask(server[1], "POST", "/v1/videos", body, [(b"content-type", kind.encode())]))


@FUZZ
@given(
    method=st.sampled_from(["GET", "POST", "DELETE", "PUT", "HEAD", "PATCH", "OPTIONS"]),
    path=st.sampled_from(
        ["/v1/videos/{}", "/v1/videos/{}/content", "/v1/videos/{}/cancel", "/v1/sessions/{}/video?branch={}",
         "/v1/sessions/{}/timeline", "/{}", "/v1/uploads{}", "/static/{}"]
    ),
    word=st.text(st.characters(codec="utf-8", exclude_characters="?#"), max_size=30),
)  # fmt: skip
def test_any_address_gets_an_expected_answer(server, method, path, word):
    status, _ = ask(server[1], method, path.replace("{}", word))
    assert status in EXPECTED | {307}


@FUZZ
@given(host=st.text(max_size=30), origin=st.text(max_size=30), token=st.text(max_size=30))
def test_any_header_gets_an_expected_answer(server, host, origin, token):
    headers = [
        (b"origin", origin.encode("utf-8", "replace")),
        (b"authorization", b"Bearer " + token.encode("utf-8", "replace")),
        (b"host", host.encode("utf-8", "replace")),
    ]
    assert ask(server[1], "GET", "/v1/limits", headers=headers)[0] in (200, 403, 421)
