"""MLflow models whose signature comes from type hints, and requests for them."""

import json
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pydantic
from hypothesis import strategies as st
from mlflow.pyfunc import PythonModel

from tests.server.differential.bodies import JSON, Request
from tests.server.differential.echoing import picture


class Message(pydantic.BaseModel):
    """A row of the last model."""

    role: str
    content: str | None = None
    weight: float = 1.0


class Texts(PythonModel):
    """Takes texts."""

    def predict(self, model_input: list[str], params: dict[str, Any] | None = None) -> Any:
        return picture(model_input)


class Integers(PythonModel):
    """Takes integers."""

    def predict(self, model_input: list[int]) -> Any:
        return picture(model_input)


class Maps(PythonModel):
    """Takes objects of numbers."""

    def predict(self, model_input: list[dict[str, float]]) -> Any:
        return picture(model_input)


class Messages(PythonModel):
    """Takes pydantic models."""

    def predict(self, model_input: list[Message]) -> Any:
        return [picture(message.model_dump()) for message in model_input]


MODELS: dict[str, type[PythonModel]] = {m.__name__.lower(): m for m in (Texts, Integers, Maps, Messages)}


def save(folder: Path, name: str) -> Path:
    """The model `name` in `folder`."""
    mlflow.pyfunc.save_model(folder, python_model=MODELS[name](), pip_requirements=["mlflow"])
    return folder


_ROWS = st.one_of(
    st.text(max_size=3),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.dictionaries(st.sampled_from("xy"), st.floats(allow_nan=False) | st.integers() | st.text(max_size=2)),
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "", 5])},
        optional={
            "content": st.text(max_size=2) | st.none() | st.integers(),
            "weight": st.floats() | st.text(max_size=2),
            "extra": st.just(1),
        },
    ),
    st.lists(st.integers(), max_size=2),
)
_INPUTS = (
    st.one_of(*(st.lists(row, max_size=3) for row in (_ROWS, _ROWS, st.text(max_size=3), st.integers())))
    | _ROWS
)


@st.composite
def requests(draw: Any) -> Request:
    """Requests for a model with type hints."""
    body = {
        draw(st.sampled_from(["inputs"] * 6 + ["instances", "input", "dataframe_records"])): draw(_INPUTS)
    }
    if draw(st.integers(0, 4)) == 0:
        body[draw(st.sampled_from(["params", "instances", "extra", "messages"]))] = draw(_INPUTS)
    return JSON, json.dumps(body).encode()
