"""A short run of `make fuzz`."""

from __future__ import annotations

import json

from tests.workflows.serve.conftest import ask, said
from tests.workflows.serve.fuzz import fuzz, valid


def test_hostile_bodies_get_an_answer_and_no_500(running) -> None:
    for route, body in valid("tiny-llm").items():
        assert running.post(route, body).status == 200, route
    found = fuzz(running.url, "tiny-llm", count=150, seed=1)
    assert found[200] > 5 and found[400] > 50
    assert (
        running.post(
            "chat/completions", {"model": "tiny-llm", "messages": said("a dog"), "max_tokens": 3}
        ).status
        == 200
    )


def test_hostile_forms_get_an_answer_and_no_500(running) -> None:
    forms = [
        b"",
        b"--x--\r\n",
        b"--x\r\n\r\n\r\n--x--\r\n",
        b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n\r\n--x--\r\n',
        b'--x\r\nContent-Disposition: form-data; name="n"\r\n\r\nmany\r\n--x--\r\n',
        b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n\xff\xfe\r\n--x--\r\n',
        b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n",
        b"--x\r\nContent-Disposition: form-data; name=prompt",
    ]
    kinds = ("multipart/form-data; boundary=x", "multipart/form-data", "text/plain", "")
    for form in forms:
        for kind in kinds:
            answer = ask(running.url, "POST", "/v1/images/edits", form, content_type=kind)
            assert answer.status == 400 and answer.error["message"], (form, kind, answer)
    assert json.loads(running.get("/health").content) == {"status": "ok"}
