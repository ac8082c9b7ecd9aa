"""The Python client that openapi-python-client makes from openapi.yaml, against a running service."""

import base64
import os
from io import BytesIO
from pathlib import Path

import pytest
from pcm_caption_client import AuthenticatedClient, Client
from pcm_caption_client.api.captions import (
    create_caption,
    create_caption_batch,
    create_caption_batch_from_json,
    create_caption_from_json,
    create_embeddings,
    create_score,
    create_score_from_json,
)
from pcm_caption_client.api.models import list_models
from pcm_caption_client.models import (
    CaptionBatch,
    CaptionBatchForm,
    CaptionBatchRequest,
    CaptionedImage,
    CaptionForm,
    CaptionRequest,
    CaptionResult,
    EmbeddingInput,
    EmbeddingList,
    EmbeddingRequest,
    FailedImage,
    ImageSource,
    ModelList,
    Problem,
    ScoreForm,
    ScoreRequest,
    ScoreResult,
)
from pcm_caption_client.types import File

URL = os.environ["SERVICE_URL"]
PHOTO = Path(os.environ["PHOTO"]).read_bytes()


@pytest.fixture
def client() -> AuthenticatedClient:
    return AuthenticatedClient(base_url=URL, token=os.environ["API_KEY"])


def photo() -> File:
    return File(payload=BytesIO(PHOTO), file_name="photo.jpg", mime_type="image/jpeg")


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def test_a_photo_is_captioned_from_a_form(client: AuthenticatedClient) -> None:
    result = create_caption.sync(client=client, body=CaptionForm(image=photo(), candidates=2, avoid_words=["photo", "picture"]))
    assert isinstance(result, CaptionResult)
    assert result.caption is not None and result.caption[0].isupper()
    assert 0 < result.confidence < 1
    assert 1 <= len(result.captions) <= 2


def test_a_photo_is_captioned_from_json(client: AuthenticatedClient) -> None:
    result = create_caption_from_json.sync(client=client, body=CaptionRequest(image=encoded(PHOTO), candidates=5, explain=True))
    assert isinstance(result, CaptionResult)
    assert len(result.captions) > 2
    assert result.grid_size and result.concepts[0].patches
    assert len(result.concepts[0].patches) == result.grid_size.rows * result.grid_size.columns


def test_a_batch_has_an_entry_for_each_image(client: AuthenticatedClient) -> None:
    images = [ImageSource(image=encoded(PHOTO)), ImageSource(image=encoded(b"no photo"))]
    files = [photo(), File(payload=BytesIO(b"no photo"), file_name="b.jpg")]
    for batch in (
        create_caption_batch_from_json.sync(client=client, body=CaptionBatchRequest(images=images, candidates=1)),
        create_caption_batch.sync(client=client, body=CaptionBatchForm(image=files, gender_neutral=True)),
    ):
        assert isinstance(batch, CaptionBatch)
        good, bad = batch.results
        assert isinstance(good, CaptionedImage) and good.result.caption
        assert isinstance(bad, FailedImage) and isinstance(bad.error, Problem)
        assert (bad.index, bad.error.code, bad.error.status) == (1, "unsupported_image_format", 415)


def test_texts_are_scored(client: AuthenticatedClient) -> None:
    texts = ["A photo of food", "A dog, running"]
    for result in (
        create_score.sync(client=client, body=ScoreForm(image=photo(), texts=texts)),
        create_score_from_json.sync(client=client, body=ScoreRequest(image=encoded(PHOTO), texts=texts)),
    ):
        assert isinstance(result, ScoreResult)
        assert [score.text for score in result.scores] == texts
        assert all(score.match_probability is not None for score in result.scores)


def test_a_text_and_an_image_are_embedded(client: AuthenticatedClient) -> None:
    inputs = [EmbeddingInput(text="a dog"), EmbeddingInput(image=encoded(PHOTO))]
    result = create_embeddings.sync(client=client, body=EmbeddingRequest(input_=inputs))
    assert isinstance(result, EmbeddingList)
    assert sum(value * value for value in result.data[1].embedding) == pytest.approx(1, abs=1e-3)


def test_what_is_refused_comes_as_a_typed_problem(client: AuthenticatedClient) -> None:
    refused = create_caption.sync_detailed(client=client, body=CaptionForm(image=photo(), candidates=99))
    assert isinstance(refused.parsed, Problem)
    assert (refused.status_code, refused.parsed.code) == (400, "invalid_option")
    stranger = list_models.sync(client=Client(base_url=URL))
    assert isinstance(stranger, Problem) and stranger.code == "unauthorized"


def test_the_model_is_described(client: AuthenticatedClient) -> None:
    models = list_models.sync(client=client)
    assert isinstance(models, ModelList) and models.data[0].max_length > 0
