"""The application: routes of OpenAI's dialect, and what stands before and behind them."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse
from starlette.exceptions import HTTPException

from seedcli import __version__
from seedcli.console import Reporter
from seedcli.workflows.serve.chat_route import ChatRoute
from seedcli.workflows.serve.errors import ApiError, as_api_error, json_response
from seedcli.workflows.serve.guard import Guard, internal_error
from seedcli.workflows.serve.image_routes import ImageRoutes
from seedcli.workflows.serve.metrics import CONTENT_TYPE
from seedcli.workflows.serve.page import docs_page
from seedcli.workflows.serve.requests import (
    ChatRequest,
    DetokenizeRequest,
    EditsRequest,
    GenerationsRequest,
    TokenizeRequest,
)
from seedcli.workflows.serve.service import Service


def build_app(service: Service, reporter: Reporter) -> tuple[Any, Guard]:
    """A service -> its ASGI application, and the guard before it."""
    app = FastAPI(title="seed serve", version=__version__, docs_url=None, redoc_url=None)
    chat, images = ChatRoute(service), ImageRoutes(service)
    created = int(service.started)

    @app.post("/v1/chat/completions", summary="A conversation -> words and pictures")
    async def completions(body: ChatRequest, request: Request) -> Response:
        body.check_supported()
        return await chat(body, request)

    @app.post("/v1/images/generations", summary="Words -> pictures")
    async def generations(body: GenerationsRequest, request: Request) -> Response:
        body.check_supported()
        return await images.generate(body, request)

    @app.post(
        "/v1/images/edits",
        summary="Pictures and words -> pictures; multipart, pictures in `image` or `image[]`",
        openapi_extra={
            "requestBody": {
                "content": {"multipart/form-data": {"schema": EditsRequest.model_json_schema()}}
            }
        },
    )
    async def edits(request: Request) -> Response:
        return await images.edit(request)

    @app.post("/v1/tokenize", summary="Pictures -> codes")
    async def tokenize(body: TokenizeRequest, request: Request) -> Response:
        return await images.tokenize(body, request)

    @app.post("/v1/detokenize", summary="Codes -> pictures")
    async def detokenize(body: DetokenizeRequest, request: Request) -> Response:
        return await images.detokenize(body, request)

    @app.get("/v1/images/files/{name}", summary="A picture that was told by its address")
    async def picture(name: str) -> Response:
        if (path := service.store.find(name)) is None:
            raise ApiError(404, "there is no such picture", code="not_found")
        return FileResponse(path, media_type="image/png")

    def described() -> dict[str, Any]:
        return {
            "id": service.model_name,
            "object": "model",
            "created": created,
            "owned_by": "seed",
            "codes": service.codes_facts,
        }

    @app.get("/v1/models", summary="The model that is loaded")
    async def models() -> Response:
        return json_response({"object": "list", "data": [described()]})

    @app.get("/v1/models/{name:path}", summary="One model")
    async def model(name: str) -> Response:
        service.check_model(name)
        return json_response(described())

    @app.get("/health", summary="Whether requests are taken")
    async def health() -> Response:
        if guard.draining:
            return json_response({"status": "draining"}, 503)
        return json_response({"status": "ok"})

    @app.get("/metrics", summary="Counters, as Prometheus reads them")
    async def metrics() -> Response:
        return Response(service.engine.metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(docs_page(app.openapi()))

    app.add_exception_handler(ApiError, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_fault)
    guard = Guard(app, service.settings, service.engine.metrics, reporter)
    outer: Any = guard
    if service.settings.origins:
        from starlette.middleware.cors import CORSMiddleware

        outer = CORSMiddleware(
            guard,
            allow_origins=list(service.settings.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "x-seed-ignored"],
        )
    return outer, guard


async def _answer_error(_request: Request, error: Any) -> Response:
    return error.response()


async def _answer_fault(_request: Request, _error: Exception) -> Response:
    return internal_error()  # the guard logs it


async def _answer_invalid(_request: Request, error: Any) -> Response:
    """What pydantic found -> OpenAI's 400, with the first fault; what was sent is not repeated."""
    found = error.errors()[0]
    place = [str(part) for part in found["loc"] if part != "body"]
    name = ".".join(place)[:200] or None
    message = {
        "extra_forbidden": "this field is unknown",
        "missing": "this field is missing",
        "json_invalid": "the body is no JSON",
    }.get(found["type"], found["msg"])
    if name is None or found["type"] == "json_invalid":
        return ApiError(400, message).response()
    return ApiError(400, f"{name}: {message}", param=name).response()


async def _answer_http(_request: Request, error: Any) -> Response:
    """What the framework refuses; what the guard refused while the body was read."""
    cause = as_api_error(error.__cause__) if error.__cause__ is not None else None
    if cause is not None:
        return cause.response()
    message = {404: "there is no such route", 405: "this route takes another method"}.get(
        error.status_code, "the body cannot be read"
    )
    return ApiError(error.status_code, message).response()
