"""Official Python clients of other products, unmodified: only their address is this service's."""

import base64
import os
from pathlib import Path

import httpx
import ollama
import openai
import pytest
from azure.ai.vision.imageanalysis import ImageAnalysisClient
from azure.ai.vision.imageanalysis.models import VisualFeatures
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import HttpResponseError
from huggingface_hub import InferenceClient
from pydantic import BaseModel

URL = os.environ["SERVICE_URL"]
KEY = os.environ["API_KEY"]
PHOTO = Path(os.environ["PHOTO"])
MODEL = "pcm-net-lite2"
DATA_URL = f"data:image/jpeg;base64,{base64.b64encode(PHOTO.read_bytes()).decode()}"
MESSAGES = [
    {
        "role": "user",
        "content": [{"type": "text", "text": "Describe this image"}, {"type": "image_url", "image_url": {"url": DATA_URL}}],
    }
]


@pytest.fixture(scope="module")
def caption() -> str:
    """What this service's own call says of the photo."""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "image/jpeg"}
    answer = httpx.post(f"{URL}/v1/captions", content=PHOTO.read_bytes(), headers=headers)
    return answer.json()["caption"]


@pytest.fixture(scope="module")
def client() -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY)


def test_openai_chats_at_once_and_in_a_stream(client, caption):
    assert client.chat.completions.create(model=MODEL, messages=MESSAGES).choices[0].message.content == caption
    chunks = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    parts = list(chunks)
    assert "".join(p.choices[0].delta.content or "" for p in parts if p.choices) == caption
    assert parts[-1].usage.total_tokens > 0


def test_openai_responds_at_once_and_in_a_stream(client, caption):
    asked = [{"role": "user", "content": [{"type": "input_image", "image_url": DATA_URL, "detail": "auto"}]}]
    assert client.responses.create(model=MODEL, input=asked).output_text == caption
    with client.responses.stream(model=MODEL, input=asked) as stream:
        assert "".join(e.delta for e in stream if e.type == "response.output_text.delta") == caption


class AltText(BaseModel):
    alt_text: str
    keywords: list[str]
    confidence: float
    note: str | None


class Threat(BaseModel):
    potential_threat_level: int


def test_openai_parses_structured_output(client, caption):
    parsed = client.chat.completions.parse(model=MODEL, messages=MESSAGES, response_format=AltText).choices[0].message.parsed
    assert parsed.alt_text == caption
    assert 0 < parsed.confidence < 1
    assert parsed.note is None
    with pytest.raises(openai.BadRequestError, match="potential_threat_level"):
        client.chat.completions.parse(model=MODEL, messages=MESSAGES, response_format=Threat)


def test_openai_embeds_texts(client):
    vectors = client.embeddings.create(model=MODEL, input=["a dog", "a puppy", "a bank"]).data
    dog, puppy, bank = (v.embedding for v in vectors)
    assert sum(a * b for a, b in zip(dog, puppy)) > sum(a * b for a, b in zip(dog, bank))


def test_openai_raises_the_right_errors(client):
    with pytest.raises(openai.NotFoundError, match="gpt-4o"):
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{URL}/v1", api_key="not-a-key-of-this-service").models.list()


def test_ollama_generates_and_chats(caption):
    client = ollama.Client(host=URL, headers={"Authorization": f"Bearer {KEY}"})
    assert client.generate(model=MODEL, prompt="Describe", images=[PHOTO]).response == caption
    messages = [{"role": "user", "content": "Describe", "images": [str(PHOTO)]}]
    assert client.chat(model=MODEL, messages=messages).message.content == caption
    assert "".join(p.message.content for p in client.chat(model=MODEL, messages=messages, stream=True)) == caption
    assert client.list().models[0].model == f"{MODEL}:latest"
    with pytest.raises(ollama.ResponseError, match="model 'llava' not found"):
        client.generate(model="llava", prompt="")


def test_huggingface_hub_captions_an_image(caption):
    client = InferenceClient(model=f"{URL}/hugging-face", token=KEY)
    assert client.image_to_text(PHOTO.read_bytes()).generated_text == caption


def test_azure_analyzes_an_image(caption):
    client = ImageAnalysisClient(URL, AzureKeyCredential(KEY))
    features = [VisualFeatures.CAPTION, VisualFeatures.DENSE_CAPTIONS, VisualFeatures.TAGS]
    result = client.analyze(PHOTO.read_bytes(), features, gender_neutral_caption=False)
    assert result.caption.text == caption
    assert result.dense_captions.list[0].text == caption
    assert all(tag.confidence >= 0.5 for tag in result.tags.list)
    with pytest.raises(HttpResponseError, match="read"):
        client.analyze(PHOTO.read_bytes(), [VisualFeatures.READ])
