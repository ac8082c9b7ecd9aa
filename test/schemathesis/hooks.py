"""What openapi.yaml has no words for: bytes that are images, and rules between two parts of a request."""

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

SERVICE = os.environ["SERVICE_URL"]
FORMATS = ("jpeg", "png", "webp", "gif", "avif", "tiff")


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


@REQUESTS_TRANSPORT.serializer("multipart/form-data")
def form_with_files(context, value):
    return multipart_serializer(context, with_bytes(value))


@schemathesis.hook
def before_load_schema(_context, document) -> None:
    """Says what the document cannot: how long a caption of this model is, and how many images a form takes."""
    key = {"authorization": f"Bearer {os.environ['API_KEY']}"}
    models = requests.get(f"{SERVICE}/v1/models", headers=key, timeout=10).json()
    schemas = document["components"]["schemas"]
    schemas["MaxLength"]["maximum"] = models["data"][0]["maxLength"]
    images = schemas["CaptionBatchRequest"]["properties"]["images"]
    schemas["CaptionBatchForm"]["properties"]["image"].update(minItems=1, maxItems=images["maxItems"])


@schemathesis.hook
def before_call(_context, case, _kwargs) -> None:
    """Lets a request that the schemas allow keep the rules between its parts as well."""
    if case.meta is None or case.meta.generation.mode.is_negative:
        return
    body = case.body if isinstance(case.body, dict) else {}
    if "beamSize" in body:
        body["beamSize"] = max(int(body["beamSize"]), int(body.get("candidates", 3)))
    single = [body] if case.path in ("/v1/captions/json", "/v1/scores/json") else []
    for source in (*single, *(body.get("images") or [])):
        if "image" not in source:
            source["url"] = ADDRESS
        elif "url" in source:
            del source["url"]
    for entry in body.get("input") or []:
        if "image" not in entry:
            entry.setdefault("text", "A disc")
        elif "text" in entry:
            del entry["text"]
