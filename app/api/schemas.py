"""What programs send as JSON, as typed objects; anything else is a 400 that names the field."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import orjson
from flask import request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from app.core import addresses, signatures
from app.core.batches import NewBatch
from app.core.errors import Invalid
from app.core.files import LONGEST_EXPIRY_SECONDS, SHORTEST_EXPIRY_SECONDS

Event = Literal["completed", "failed", "progress"]
Body = TypeVar("Body", bound=BaseModel)

_MOST_PAIRS = 16
_LONGEST_KEY = 64
_LONGEST_VALUE = 512


def _web_address(url: str) -> str:
    if not addresses.is_web_address(url):
        raise ValueError("must be an http or https address without a user name")
    return url


def _plain(words: str) -> str:
    if not words.isprintable() or words != words.strip():
        raise ValueError("must be one line of text, without blanks around it")
    return words


WebAddress = Annotated[str, Field(max_length=2048), AfterValidator(_web_address)]
PlainText = Annotated[str, AfterValidator(_plain)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ExpiresAfter(_Strict):
    """When a file expires, counted from its creation."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=SHORTEST_EXPIRY_SECONDS, le=LONGEST_EXPIRY_SECONDS)


class Webhook(_Strict):
    """Whom to tell about a batch."""

    url: WebAddress
    secret: str | None = Field(None, min_length=1, max_length=256)
    events: list[Event] = Field(["completed", "failed"], min_length=1, max_length=3)
    max_retries: int = Field(3, ge=1, le=10)
    timeout: int = Field(30, ge=5, le=300)

    @field_validator("secret")
    @classmethod
    def _signs(cls, secret: str | None) -> str | None:
        try:
            signatures.key(secret or "-")
        except ValueError:
            raise ValueError("must be base64 after 'whsec_'") from None
        return secret


class BatchBody(_Strict):
    """POST /v1/batches."""

    input_file_id: str = Field(min_length=1, max_length=200)
    endpoint: str = Field(max_length=200)
    completion_window: str = Field(max_length=20)
    metadata: dict[str, str] | None = None
    output_expires_after: ExpiresAfter | None = None
    priority: Annotated[int, Field(ge=-1, le=1)] = 0
    webhook: Webhook | None = None

    @field_validator("metadata")
    @classmethod
    def _within_limits(cls, metadata: dict[str, str] | None) -> dict[str, str] | None:
        if metadata is None:
            return None
        if len(metadata) > _MOST_PAIRS:
            raise ValueError(f"may have {_MOST_PAIRS} pairs at most")
        for key, value in metadata.items():
            if len(key) > _LONGEST_KEY:
                raise ValueError(f"may have keys of {_LONGEST_KEY} characters at most")
            if len(value) > _LONGEST_VALUE:
                raise ValueError(f"may have values of {_LONGEST_VALUE} characters at most")
        return metadata

    def to_new_batch(self) -> NewBatch:
        """In the domain's words."""
        after = self.output_expires_after
        return NewBatch(
            input_file_id=self.input_file_id,
            endpoint=self.endpoint,
            completion_window=self.completion_window,
            metadata=self.metadata,
            priority=self.priority,
            webhook=self.webhook.model_dump() if self.webhook else None,
            output_expires_after_seconds=after.seconds if after else None,
        )


def read_body(kind: type[Body]) -> Body:
    """The request's JSON as a `kind`. Raises Invalid."""
    raw = request.get_data(cache=False)
    try:
        content = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Invalid("The body is not valid JSON.") from None
    if not isinstance(content, dict):
        raise Invalid("The body must be a JSON object.")
    if b"\\u0000" in raw:
        raise Invalid("The body has the character NUL, which no text has.")
    try:
        return kind.model_validate(content)
    except ValidationError as fault:
        raise first_fault(fault) from None


def first_fault(fault: ValidationError) -> Invalid:
    """What to tell the client of the first of its mistakes."""
    first: Any = fault.errors(include_url=False, include_input=False)[0]
    param = ".".join(str(part) for part in first["loc"])[:200]
    match first["type"]:
        case "missing":
            message, code = f"Missing required parameter: '{param}'.", "missing_required_parameter"
        case "extra_forbidden":
            message, code = f"Unknown parameter: '{param}'.", "unknown_parameter"
        case _:
            reason = first["msg"].removeprefix("Value error, ")
            message, code = f"Invalid value for '{param}': {reason}.", "invalid_value"
    return Invalid(message, param=param, code=code)
