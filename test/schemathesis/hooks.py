"""What openapi.yaml has no words for: bytes that are images, and rules between two parts of a request."""

import json
import os
import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import requests
import schemathesis
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from schemathesis.transport.requests import REQUESTS_TRANSPORT, multipart_serializer
from schemathesis.transport.serialization import serialize_binary

SERVICE = os.environ["SERVICE_URL"]
FORMATS = ("jpeg", "png", "webp", "gif", "avif", "tiff")
NDJSON = "application/x-ndjson"


def draw(number: int, form: str) -> bytes:
    """A small picture of a disc; the number chooses its colours and size."""
    picture = Image.new("RGB", (8 + number % 25, 8 + number % 7), (number * 37 % 256, 120, 200))
    ImageDraw.Draw(picture).ellipse((number % 5, number % 3, 9, 9), fill=(250, number * 11 % 256, 30))
    file = BytesIO()
    picture.save(file, form)
    return file.getvalue()


# A file is a text until it is sent, because the schema calls it one: what is not text cannot be validated again.
PICTURES = {f"(picture {number} in {form})": draw(number, form) for number in range(12) for form in FORMATS}
# The document's examples have a placeholder for bytes.
PICTURES["(bytes)"] = draw(12, "png")
TEXTS = sorted(PICTURES)


def with_bytes(value):
    if isinstance(value, dict):
        return {name: with_bytes(member) for name, member in value.items()}
    if isinstance(value, list):
        return [with_bytes(member) for member in value]
    return PICTURES.get(value, value) if isinstance(value, str) else value


class PictureServer(BaseHTTPRequestHandler):
    """Has a picture at every address."""

    def do_GET(self) -> None:
        picture = draw(len(self.path), "png")
        self.send_response(200)
        self.send_header("content-length", str(len(picture)))
        self.end_headers()
        self.wfile.write(picture)

    def log_message(self, *_: object) -> None:
        pass


pictures = ThreadingHTTPServer(("127.0.0.1", 0), PictureServer)
threading.Thread(target=pictures.serve_forever, daemon=True).start()
ADDRESS = f"http://127.0.0.1:{pictures.server_port}/"

schemathesis.openapi.format("binary", st.sampled_from(TEXTS))
schemathesis.openapi.format("byte", st.sampled_from(TEXTS).map(lambda text: b64encode(PICTURES[text]).decode()))
schemathesis.openapi.format("uri", st.integers(0, 20).map(lambda number: ADDRESS + "x" * number))


@schemathesis.serializer(*(f"image/{form}" for form in FORMATS))
def raw_image(_context, value) -> bytes:
    return serialize_binary(with_bytes(value))


@REQUESTS_TRANSPORT.serializer("multipart/form-data")
def form_with_files(context, value):
    return multipart_serializer(context, with_bytes(value))


def lengths_in(value):
    """Every place of the document that describes the option maxLength: as a parameter, and as a member of a body."""
    if isinstance(value, dict):
        if value.get("name") == "maxLength":
            yield value["schema"]
        elif "maxLength" in value and "avoidWords" in value:
            yield value["maxLength"]
        value = list(value.values())
    if isinstance(value, list):
        for member in value:
            yield from lengths_in(member)


@schemathesis.hook
def before_load_schema(_context, document) -> None:
    """Says what the document cannot: how long a caption of this model is, and that lines are many."""
    key = {"authorization": f"Bearer {os.environ['API_KEY']}"}
    models = requests.get(f"{SERVICE}/v1/models", headers=key, timeout=10).json()
    longest = models["data"][0]["maxLength"]
    for length in lengths_in(document):
        length["maximum"] = longest
    lines = document["paths"]["/v1/captions/batch"]["post"]["responses"]["200"]["content"][NDJSON]
    lines["schema"] = {"type": "array", "minItems": 1, "items": lines["schema"]}


@schemathesis.deserializer(NDJSON)
def lines_of(_context, response):
    return [json.loads(line) for line in response.content.splitlines()]


@schemathesis.hook
def before_call(_context, case, _kwargs) -> None:
    """Lets a request that the schemas allow keep the rules between its parts as well."""
    if case.meta is None or case.meta.generation.mode.is_negative:
        return
    body = case.body if isinstance(case.body, dict) else {}
    if body and case.query:
        # Options are given in one place; a query that says something else than the body is refused.
        case.query = {}
    elif case.path == "/v1/scores" and not body and not case.query.get("texts"):
        case.query = {"texts": ["A disc"]}
    for options in (case.query or {}, body):
        if "beamSize" in options:
            options["beamSize"] = max(int(options["beamSize"]), int(options.get("candidates", 3)))
    for source in (body, *(body.get("images") or [])):
        if source.get("url") == "https://images.example.org/dog.jpg":
            source["url"] = ADDRESS
    if case.path == "/v1/captions/batch" and int(body.get("candidates", 0)) % 2:
        case.headers["accept"] = NDJSON
