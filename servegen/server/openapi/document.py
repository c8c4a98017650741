"""The whole document: every route with its parameters, bodies and statuses."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from servegen.server.modelfile import ModelFile
from servegen.server.openapi import answers, examples, requests, v2_schemas
from servegen.server.openapi.cells import Schema

_JSON = "application/json"
_SCHEMAS = "#/components/schemas/"
_STATUSES = {
    "400": "The request does not fit the model, or the model failed on it.",
    "404": "There is no such route.",
    "405": "The route has no such method; Allow says which ones it has.",
    "413": "The body is too large.",
    "415": "The content type or encoding is not supported.",
    "429": "Too many requests wait; Retry-After says for how many seconds to stay away.",
    "500": "The server failed, or the model's answer has no JSON form.",
    "503": "The model is still loading, or the server shuts down.",
    "504": "The model did not answer in time.",
}
_BY_THE_MODEL = {
    "401": "The model asks for a login.",
    "403": "The model denies permission.",
    "409": "The model reports a conflict.",
    "499": "The model reports that the call was cancelled.",
    "501": "The model does not implement this.",
}
"""Further statuses that an MlflowException of the model can have."""
_TAGS = {
    "MLflow": "The protocol of MLflow's scoring server.",
    "Open Inference Protocol": "The V2 protocol of KServe, Triton and others.",
    "Health": "For probes and scrapers.",
}


def document(model: ModelFile, v2: dict[str, Any], *, version: str) -> Schema:
    """The OpenAPI document of the server for `model`, whose V2 metadata is `v2`."""
    example = examples.read(model)
    base = f"/v2/models/{quote(model.name, safe='')}"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": model.name,
            "version": model.version,
            "summary": f"Served by servegen {version}.",
        },
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": {
            "/invocations": {"post": _invocations(model, example)},
            **_model_paths(base, "", model, v2, example),
            **_model_paths(f"{base}/versions/{quote(model.version, safe='')}", "Version", model, v2, example),
            "/v2": {"get": _v2_get("serverMetadata", "The server's name and extensions.", "Server")},
            "/v2/health/live": {"get": _v2_get("serverLive", "Whether the process answers.", "Live")},
            "/v2/health/ready": {
                "get": _v2_get("serverReady", "Whether the model is ready.", "Ready", unavailable="Ready")
            },
            **_plain_paths(),
        },
        "components": {
            "schemas": {
                "Row": requests.row(model.signature),
                "Invocation": requests.body(model),
                "Answer": answers.answer(model),
                "InferRequest": v2_schemas.request(v2, model.signature.params),
                "InferResponse": v2_schemas.response(),
                "Metadata": v2_schemas.metadata(),
                "Server": v2_schemas.server(),
                "Live": v2_schemas.flag("live"),
                "Ready": v2_schemas.flag("ready"),
                "ModelReady": v2_schemas.model_ready(),
                "Error": {
                    "type": "object",
                    "required": ["error_code", "message"],
                    "properties": {
                        name: {"type": "string"}
                        for name in ("error_code", "message", "sqlstate", "error_class", "stack_trace")
                    },
                },
                "V2Error": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {"error": {"type": "string"}, "stack_trace": {"type": "string"}},
                },
            },
            "headers": {
                "X-Request-Id": {
                    "description": "The one of the request, or a new one; the log has it too.",
                    "required": True,
                    "schema": {"type": "string"},
                },
                "Retry-After": {
                    "description": "Seconds; absent where it is the model that refuses.",
                    "schema": {"type": "integer", "minimum": 1},
                },
                "Allow": {"required": True, "schema": {"type": "string"}},
            },
        },
    }


def _invocations(model: ModelFile, example: Any) -> Schema:
    content: Schema = {_JSON: {"schema": _reference("Invocation")}}
    sent = examples.body(model)
    if sent is not None:
        content[_JSON]["example"] = sent
    if requests.reads_csv(model.signature):
        text = examples.as_csv(example)
        content["text/csv"] = {
            "schema": {"type": "string", "description": "With a header row, in UTF-8."},
            **({"example": text} if text else {}),
        }
    if requests.reads_parquet(model.signature):
        content["application/vnd.apache.parquet"] = {
            "schema": {"description": "A Parquet file with a column each."}
        }
    answered: Schema = {_JSON: {"schema": _reference("Answer")}}
    if model.streamable:
        answered["text/event-stream"] = {
            "schema": {"description": "With `stream`: frames of `data: JSON`, the last one `data: [DONE]`."}
        }
    return {
        "operationId": "invocations",
        "tags": ["MLflow"],
        "summary": "Predict.",
        "requestBody": {"required": True, "content": content},
        "responses": {"200": _response("The predictions.", answered), **_errors("Error", *_ALL)},
    }


def _model_paths(base: str, suffix: str, model: ModelFile, v2: dict[str, Any], example: Any) -> Schema:
    content: Schema = {"schema": _reference("InferRequest")}
    sent = examples.as_infer(example, v2["inputs"])
    if sent is not None:
        content["example"] = sent
    infer = {
        "operationId": f"infer{suffix}",
        "tags": ["Open Inference Protocol"],
        "summary": "Predict.",
        "requestBody": {"required": True, "content": {_JSON: content}},
        "responses": {
            "200": _response("The outputs.", _json("InferResponse")),
            **_errors("V2Error", *_ALL),
        },
    }
    described = _v2_get(f"metadata{suffix}", "Inputs and outputs of the model.", "Metadata", loads=True)
    described["responses"]["200"]["content"][_JSON]["example"] = v2
    ready = _v2_get(f"modelReady{suffix}", "Whether the model is ready.", "ModelReady", loads=True)
    ready["responses"]["200"]["content"][_JSON]["example"] = {"name": model.name, "ready": True}
    return {f"{base}/infer": {"post": infer}, base: {"get": described}, f"{base}/ready": {"get": ready}}


def _v2_get(
    operation: str, summary: str, schema: str, *, loads: bool = False, unavailable: str = ""
) -> Schema:
    responses = {"200": _response(summary, _json(schema)), **_errors("V2Error", "405")}
    if loads:
        responses |= _errors("V2Error", "503")
    if unavailable:
        responses["503"] = _response(_STATUSES["503"], _json(unavailable))
    return {
        "operationId": operation,
        "tags": ["Open Inference Protocol"],
        "summary": summary,
        "responses": responses,
    }


def _plain_paths() -> Schema:
    # The bodies of the first three are no JSON: MLflow's clients want them so.
    bare: Schema = {_JSON: {}}
    text = {"text/plain": {"schema": {"type": "string"}}}
    page = {"text/html": {"schema": {"type": "string"}}}
    anything = {_JSON: {"schema": {"type": "object"}}}
    routes = (
        ("ping", "Whether the model is ready; the body is a newline.", bare, "503"),
        ("health", "The same as ping.", bare, "503"),
        ("version", "MLflow's version as bare text.", bare, ""),
        ("livez", "Whether the process answers.", text, ""),
        ("readyz", "Whether the model is ready.", text, "503"),
        ("metrics", "Prometheus metrics.", text, ""),
        ("openapi.json", "This document.", anything, "503"),
        ("docs", "This document as a page.", page, "503"),
    )
    paths: Schema = {}
    for name, summary, content, status in routes:
        errors = _errors("Error", "405", *filter(None, [status]))
        identity = name.partition(".")[0]
        operation = {"tags": ["Health"], "summary": summary}
        paths[f"/{name}"] = {
            "get": {
                "operationId": identity,
                **operation,
                "responses": {"200": _response(summary, content), **errors},
            }
        }
        if name in _WITH_HEAD:
            paths[f"/{name}"]["head"] = {
                "operationId": f"{identity}Head",
                **operation,
                "responses": {
                    number: {key: value for key, value in response.items() if key != "content"}
                    for number, response in paths[f"/{name}"]["get"]["responses"].items()
                },
            }
    return paths


_ALL = tuple(sorted({**_STATUSES, **_BY_THE_MODEL}))
_WITH_HEAD = frozenset(("ping", "health", "version", "livez", "readyz"))
_HEADERS = {"405": "Allow", "429": "Retry-After", "503": "Retry-After"}


def _errors(schema: str, *statuses: str) -> Schema:
    texts = _STATUSES | _BY_THE_MODEL
    return {
        status: _response(texts[status], _json(schema), header=_HEADERS.get(status, ""))
        for status in statuses
    }


def _response(description: str, content: Schema, *, header: str = "") -> Schema:
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", header) if name}
    return {"description": description, "headers": headers, "content": content}


def _json(schema: str) -> Schema:
    return {_JSON: {"schema": _reference(schema)}}


def _reference(schema: str) -> Schema:
    return {"$ref": f"{_SCHEMAS}{schema}"}
