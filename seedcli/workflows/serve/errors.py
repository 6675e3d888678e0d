"""What goes wrong, in OpenAI's shape. Nothing of this machine is in it: no path, no traceback."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import Response

from seedcli.data.images.images import ImageError
from seedcli.errors import UsageError
from seedcli.workflows.serve.answer import OutOfTimeError
from seedcli.workflows.serve.engine import BusyError

RETRY_AFTER_S = 2


class ApiError(Exception):
    """A request that is not answered.

    Attributes:
        status: Of HTTP.
        message: What was found and what was expected.
        param: The field of the request that it is about.
        code: A word for programs.
    """

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ):
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    @property
    def body(self) -> dict[str, Any]:
        """As OpenAI writes it."""
        kind = (
            "server_error"
            if self.status >= 500
            else "rate_limit_error"
            if self.status == 429
            else "invalid_request_error"
        )
        return {
            "error": {
                "message": self.message,
                "type": kind,
                "param": self.param,
                "code": self.code,
            }
        }

    def response(self) -> Response:
        """As HTTP answers it."""
        waits = {"Retry-After": str(RETRY_AFTER_S)} if self.status in (429, 503) else {}
        return json_response(self.body, self.status, waits)


def json_response(
    content: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """JSON in ASCII: a lone half of a character, which a request may hold, has no UTF-8."""
    return Response(
        json.dumps(content), status, headers=dict(headers or {}), media_type="application/json"
    )


def as_api_error(error: BaseException, *, param: str | None = None) -> ApiError | None:
    """An exception of what lies below -> what the client is told; None for our own faults."""
    match error:
        case ApiError():
            return error
        case BusyError():
            return busy()
        case OutOfTimeError():
            return ApiError(408, "the time of this request is over", code="timeout")
        case ImageError():
            return ApiError(400, f"the picture {error.reason}", param=param, code="invalid_image")
        case UsageError():
            return ApiError(400, error.message, param=param)
    return None


def busy() -> ApiError:
    """Too many wait."""
    return ApiError(
        429, "too many requests wait already; try again soon", code="rate_limit_exceeded"
    )
