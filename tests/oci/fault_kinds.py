"""The faults that are injected: what can go wrong with one request to a registry."""

from __future__ import annotations

import datetime
import email.utils
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.oci.faulty import Answer, Call, Fault, error

Act = Callable[[Call], Answer | None]

ANY = "."
CHECK = "^HEAD .*/blobs/sha256"
START = "^POST .*/blobs/uploads/"
MOUNT = "^POST .*mount="
UPLOAD = "^(PUT|PATCH) .*/blobs/uploads/"
FINISH = "^PUT .*/blobs/uploads/"
PIECE = "^PATCH "
STATE = "^GET .*/blobs/uploads/"
PUT_MANIFEST = "^PUT .*/manifests/"
READ_MANIFEST = "^GET .*/manifests/"
ASK_MANIFEST = "^HEAD .*/manifests/"
READ_BLOB = "^GET .*/blobs/sha256"
READ_PART = "^GET .*/blobs/sha256.* bytes="
READ = "^GET .*/(manifests|blobs/sha256)"
OTHER = "sha256:" + "0" * 64


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A fault, and the requests it can befall."""

    name: str
    pattern: str
    act: Act
    before: tuple[str, Act] | None = None
    """What has to go wrong first for there to be such a request."""
    stalls: bool = False
    once: bool = False
    """A second time it is no accident, and no cure is asked for."""

    def faults(self, skip: int, times: int) -> list[Fault]:
        """The fault at the request with this number, and at the ones after it."""
        first = [Fault(pattern=self.before[0], act=self.before[1], skip=1)] if self.before else []
        return [*first, Fault(pattern=self.pattern, act=self.act, skip=skip, times=times)]


def _reset(call: Call) -> None:
    call.reset()


def _reset_in_request(call: Call) -> None:
    call.body(call.length() // 2)
    call.reset()


def _half_arrives(call: Call) -> None:
    """The registry gets the first half of a piece, then the connection breaks."""
    start, half = int(call.headers["Content-Range"].partition("-")[0]), call.length() // 2
    call.forward(call.body(half), **{"Content-Range": f"{start}-{start + half - 1}"})
    call.reset()


def _half_upload_passes_for_all(call: Call) -> Answer:
    return call.forward(call.body()[: call.length() // 2])


def _reset_in_head(call: Call) -> None:
    answer = call.forward()
    head = call.head(answer)
    call.wfile.write(head[: len(head) // 2])
    call.reset()


def _reset_in_body(call: Call) -> None:
    answer = call.forward()
    call.wfile.write(call.head(answer) + answer.body[: len(answer.body) // 2])
    call.reset()


def _done_unheard(call: Call) -> None:
    call.forward()


def _done_but_502(call: Call) -> Answer:
    call.forward()
    return error(502)


def _status(status: int, code: str = "", **headers: str) -> Act:
    return lambda call: error(status, code, **headers)


def _later_at(call: Call) -> Answer:
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=7)
    return error(429, "TOOMANYREQUESTS", Retry_After=email.utils.format_datetime(moment, usegmt=True))


def _expired(call: Call) -> Answer:
    realm = f'Bearer realm="http://{call.faulty.host}/token",service="x"'
    return error(401, "UNAUTHORIZED", WWW_Authenticate=realm)


def _stall(call: Call) -> None:
    call.stall()


def _stall_in_body(call: Call) -> None:
    answer = call.forward()
    call.wfile.write(call.head(answer) + answer.body[: len(answer.body) // 2])
    call.stall()


def _cut(call: Call) -> None:
    answer = call.forward()
    call.wfile.write(call.head(answer) + answer.body[: len(answer.body) // 2])


def _short(call: Call) -> Answer:
    answer = call.forward()
    body = answer.body[: len(answer.body) // 2]
    return replace(answer, body=body).telling(Content_Length=str(len(body)))


def _longer(call: Call) -> Answer:
    answer = call.forward()
    return replace(answer, body=answer.body + b"!").telling(Content_Length=str(len(answer.body) + 1))


def _altered(call: Call) -> Answer:
    answer = call.forward()
    return replace(answer, body=answer.body[:-1] + bytes([answer.body[-1] ^ 1]))


def _telling(**headers: str) -> Act:
    return lambda call: call.forward().telling(**headers)


def _stored_not(call: Call) -> Answer:
    digest = re.search("sha256(?::|%3A)[0-9a-f]{64}", call.path)
    told = digest[0].replace("%3A", ":") if digest else "sha256:" + hashlib.sha256(call.body()).hexdigest()
    return Answer(status=201, headers={"Docker-Content-Digest": told, "Location": call.path})


def _never_there(call: Call) -> Answer:
    # Without Content-Length, which could not be right.
    return Answer(status=200, headers={"Content-Length": ""})


def _no_mount(call: Call) -> Answer:
    call.path = call.path.partition("?")[0]
    return call.forward()


def _shifted(call: Call) -> Answer:
    """Another part than was asked for, said openly."""
    call.headers.replace_header("Range", "bytes=5-")
    return call.forward()


def _shifted_unsaid(call: Call) -> Answer:
    asked = call.headers["Range"].removeprefix("bytes=").partition("-")[0]
    answer = _shifted(call)
    return answer.telling(Content_Range=f"bytes {asked}-9999999/9999999")


def _noise(call: Call) -> None:
    call.wfile.write(b"!!??\r\n\r\n")


def _slowly(call: Call) -> None:
    answer = call.forward()
    text = call.head(answer) + answer.body
    size = max(len(text) // 40, 1)
    for at in range(0, len(text), size):
        call.wfile.write(text[at : at + size])


def _at_private(call: Call) -> Answer:
    return error(307, Location="http://10.1.2.3/x")


def _upload_to_private(call: Call) -> Answer:
    return Answer(status=202, headers={"Location": "http://192.168.0.1/v2/x/blobs/uploads/1"})


def _token_from_private(call: Call) -> Answer:
    return error(401, WWW_Authenticate='Bearer realm="https://169.254.169.254/token"')


CURABLE = (
    Kind(name="reset before the request", pattern=ANY, act=_reset),
    Kind(name="reset in the request", pattern=UPLOAD, act=_reset_in_request),
    Kind(name="half a piece arrives", pattern=PIECE, act=_half_arrives),
    Kind(name="half an upload passes for all", pattern=FINISH, act=_half_upload_passes_for_all),
    Kind(name="reset in the answer's head", pattern=ANY, act=_reset_in_head),
    Kind(name="reset in the answer's body", pattern=READ, act=_reset_in_body),
    Kind(name="done, answer lost", pattern=ANY, act=_done_unheard),
    Kind(name="done, answer 502", pattern=ANY, act=_done_but_502),
    *(Kind(name=f"HTTP {n}", pattern=ANY, act=_status(n)) for n in (408, 429, 500, 502, 503, 504)),
    Kind(name="429, Retry-After in seconds", pattern=ANY, act=_status(429, Retry_After="7")),
    Kind(name="429, Retry-After as a date", pattern=ANY, act=_later_at),
    Kind(name="token expired", pattern=ANY, act=_expired),
    Kind(name="upload forgotten", pattern=UPLOAD, act=_status(404, "BLOB_UPLOAD_UNKNOWN")),
    Kind(
        name="upload forgotten after a break",
        pattern=STATE,
        act=_status(404, "BLOB_UPLOAD_UNKNOWN"),
        before=(PIECE, _half_arrives),
    ),
    Kind(name="stall", pattern=ANY, act=_stall, stalls=True),
    Kind(name="stall in the answer's body", pattern=READ, act=_stall_in_body, stalls=True),
    Kind(name="body cut off", pattern=READ, act=_cut),
    Kind(name="body shorter than it was", pattern=READ, act=_short),
    Kind(name="body longer than it was", pattern=READ_BLOB, act=_longer),
    Kind(name="other bytes", pattern=READ, act=_altered),
    Kind(
        name="other digest of a blob", pattern=f"{CHECK}|{FINISH}", act=_telling(Docker_Content_Digest=OTHER)
    ),
    Kind(
        name="other digest of a manifest",
        pattern=f"{PUT_MANIFEST}|{ASK_MANIFEST}|{READ_MANIFEST}",
        act=_telling(Docker_Content_Digest=OTHER),
    ),
    Kind(name="blob answered 201, not stored", pattern=FINISH, act=_stored_not),
    Kind(name="manifest answered 201, not stored", pattern=PUT_MANIFEST, act=_stored_not),
    Kind(name="mount answered 201, not done", pattern=MOUNT, act=_stored_not),
    Kind(name="blob said to be there, not there", pattern=CHECK, act=_never_there),
    Kind(name="blob of another size", pattern=CHECK, act=_telling(Content_Length="1")),
    Kind(name="no HEAD", pattern=f"{CHECK}|{ASK_MANIFEST}", act=_status(405)),
    Kind(name="mount becomes an upload", pattern=MOUNT, act=_no_mount),
    Kind(name="mount refused", pattern=MOUNT, act=_status(405, "UNSUPPORTED")),
    Kind(name="blobs unknown", pattern=PUT_MANIFEST, act=_status(400, "MANIFEST_BLOB_UNKNOWN"), once=True),
    Kind(
        name="more arrived than was sent",
        pattern=STATE,
        act=_telling(Range="0-99999999"),
        before=(PIECE, _half_arrives),
    ),
    Kind(
        name="less arrived than did", pattern=STATE, act=_telling(Range="0-9"), before=(PIECE, _half_arrives)
    ),
    Kind(name="another part", pattern=READ_PART, act=_shifted, before=(READ_BLOB, _cut)),
    Kind(name="another part, unsaid", pattern=READ_PART, act=_shifted_unsaid, before=(READ_BLOB, _cut)),
    Kind(name="no HTTP", pattern=ANY, act=_noise),
    Kind(name="slow answer", pattern=ANY, act=_slowly),
)
PRIVATE = (
    Kind(name="redirect to a private host", pattern=ANY, act=_at_private),
    Kind(name="upload to a private host", pattern=START, act=_upload_to_private),
    Kind(name="token from a private host", pattern=ANY, act=_token_from_private),
)
