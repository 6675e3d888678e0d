"""The `openai` package against the server: sync, async, streaming, images."""

from __future__ import annotations

import asyncio
import base64
import io

import openai
import pytest

from tests.workflows.serve.conftest import check_same_picture, opened, said


@pytest.fixture(scope="module")
def client(running):
    with openai.OpenAI(base_url=running.url, api_key="none", max_retries=0) as client:
        yield client


def test_the_client_lists_and_talks(client, data_url) -> None:
    assert [model.id for model in client.models.list()] == ["tiny-llm"]
    answer = client.chat.completions.create(
        model="tiny-llm", messages=said("what is this", data_url), max_tokens=5, n=2
    )
    assert len(answer.choices) == 2 and answer.usage.completion_tokens <= 10
    message = answer.choices[0].message
    assert isinstance(message.content, str) and message.images == []


def test_an_answer_with_pictures_goes_back_as_it_came(client) -> None:
    messages = said("draw a cat")
    answer = client.chat.completions.create(
        model="tiny-llm", messages=messages, extra_body={"draw": True}, seed=2
    )
    message = answer.choices[0].message
    assert opened(message.images[0]["image_url"]["url"]).size == (32, 32)
    again = client.chat.completions.create(
        model="tiny-llm",
        messages=[*messages, message.model_dump(), *said("and now")],
        max_tokens=3,
    )
    assert again.choices[0].finish_reason in ("stop", "length")


def test_the_streaming_helper_puts_pictures_together(client) -> None:
    # modalities image: the helper takes no answer that was cut
    asked = {
        "model": "tiny-llm",
        "messages": said("draw a cat"),
        "seed": 2,
        "n": 2,
        "modalities": ["image"],
    }
    with client.chat.completions.stream(**asked) as stream:
        for _ in stream:
            pass
        streamed = stream.get_final_completion().choices
    whole = client.chat.completions.create(**asked).choices
    for one, other in zip(streamed, whole, strict=True):
        assert one.message.segments[0]["codes"] == other.message.segments[0]["codes"]
        (streamed_image,), (image,) = one.message.images, other.message.images
        check_same_picture(
            opened(streamed_image["image_url"]["url"]), opened(image["image_url"]["url"])
        )


def test_async_clients_are_answered_together(running) -> None:
    async def talk() -> list[str]:
        async with openai.AsyncOpenAI(base_url=running.url, api_key="none") as client:

            async def one(seed: int) -> str:
                stream = await client.chat.completions.create(
                    model="tiny-llm",
                    messages=said("a dog"),
                    modalities=["text"],
                    seed=seed,
                    stream=True,
                )
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            return await asyncio.gather(*(one(seed % 3) for seed in range(12)))

    answers = asyncio.run(talk())
    assert answers[:3] * 4 == answers and len(set(answers)) == 3


def test_images_of_the_client(client, data_url) -> None:
    made = client.images.generate(prompt="a cat", n=1, response_format="b64_json")
    assert opened(made.data[0].b64_json).size == (32, 32)
    png = io.BytesIO(base64.b64decode(data_url.partition(",")[2]))
    png.name = "a.png"
    edited = client.images.edit(image=[png], prompt="in blue", response_format="url")
    assert edited.data[0].url.startswith("http://127.0.0.1")


def test_errors_are_the_clients_own(client) -> None:
    with pytest.raises(openai.NotFoundError, match="tiny-llm answers"):
        client.chat.completions.create(model="gpt-5", messages=said("a"))
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="tiny-llm", messages=said("a"), frequency_penalty=1.0)
    assert caught.value.param == "frequency_penalty"
    assert caught.value.code == "unsupported_parameter"
