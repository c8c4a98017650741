"""What a client is told when a request is not answered with 200."""

from __future__ import annotations

from typing import Any


class RefusedError(Exception):
    """An answer other than 200: status, error code and a message without request data."""

    def __init__(
        self, status: int, code: str, message: str, *, error_class: str = "", retry_after: int = 0
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.error_class = error_class
        self.retry_after = retry_after
        self.stack_trace = ""
        """Only sent when errors are debugged."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, self.__dict__)


class ModelFailedError(RefusedError):
    """The model raised something that is no MlflowException.

    MLflow answers 400, so `/invocations` does; the Open Inference Protocol has 500 for it.
    """

    def __init__(self) -> None:
        super().__init__(
            400, "BAD_REQUEST", "The model failed on this input. The server's log has the reason."
        )


class LossyError(RefusedError):
    """A value would change in the cast.

    MLflow answers 200 then, so whatever it does refuse in the same request goes first.
    """

    def __init__(self, message: str) -> None:
        super().__init__(400, "BAD_REQUEST", message)


def bad_request(message: str) -> RefusedError:
    """The request could not be read or a value cannot become the signature's type."""
    return RefusedError(400, "BAD_REQUEST", message)


def invalid_schema(message: str) -> RefusedError:
    """The request was read, but does not fit the signature."""
    return RefusedError(400, "INVALID_PARAMETER_VALUE", message, error_class="SCHEMA_ENFORCEMENT_FAILED")


def invalid_params(message: str) -> RefusedError:
    """`params` or a value checked by type hints does not fit."""
    return RefusedError(400, "INVALID_PARAMETER_VALUE", message)


def internal(message: str) -> RefusedError:
    """The fault is ours or the model's answer has no JSON form."""
    return RefusedError(500, "INTERNAL_ERROR", message)


def unavailable(message: str) -> RefusedError:
    """Not ready yet, or leaving."""
    return RefusedError(503, "TEMPORARILY_UNAVAILABLE", message, retry_after=1)


def _restored(kind: type[RefusedError], args: tuple[Any, ...], state: dict[str, Any]) -> RefusedError:
    """An error that another process has sent."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


def late() -> RefusedError:
    """The deadline has passed."""
    return RefusedError(504, "DEADLINE_EXCEEDED", "The model did not answer in time.")
