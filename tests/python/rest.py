"""A partner system that speaks JSON over HTTP with `requests`, and nothing else. Prints one JSON object."""

import argparse
import base64
import json
import pathlib
import sys

import requests
from openapi_spec_validator import OpenAPIV31SpecValidator

SECONDS = 20
STANDARD = {"Drawbridge-Provider": "trust.example", "Drawbridge-Purpose": "safeguarding", "Drawbridge-Case": "case-1"}
PROBLEM = "application/problem+json"


def session(options, system="revenues"):
    """Opens a session as one of the member's systems; with no certificate where `system` is None."""
    opened = requests.Session()
    opened.trust_env = False
    opened.verify = str(options.folder / "offline/authority.pem")
    if system:
        opened.cert = (str(options.folder / f"systems/{system}.pem"), str(options.folder / f"systems/{system}.key.pem"))
    opened.headers.update(STANDARD)
    return opened


def url(options, path):
    return f"https://localhost:{options.clients.rsplit(':', 1)[1]}{path}"


def problem(response, status, kind):
    """Holds a response against the problem details that it has to be."""
    assert response.status_code == status, (response.status_code, response.text)
    assert response.headers["content-type"] == PROBLEM, response.headers
    told = response.json()
    assert told["type"] == kind and told["status"] == status and told["title"], told
    if "exchange" in told:
        assert told["instance"] == f"urn:uuid:{told['exchange']}", told
        assert response.headers.get("drawbridge-exchange-id", told["exchange"]) == told["exchange"], response.headers
    if "hop" in told:
        assert response.headers["drawbridge-hop"] == told["hop"], response.headers
    return told


def answers(options):
    """Whole answers and JSON lines, several on one connection."""
    with session(options) as http:
        one = http.post(url(options, "/test.v1.Records/Find"), json={"id": "1"}, timeout=SECONDS)
        assert one.status_code == 200, one.text
        assert one.headers["content-type"] == "application/json" and one.raw.version == 11, one.headers
        assert one.json() == {"id": "1", "name": {"family": "Archer"}, "note": "checked"}, one.text
        assert one.headers["drawbridge-withheld"].startswith("sha256:") and one.headers["cache-control"] == "no-store"

        with http.post(url(options, "/test.v1.Records/List"), json={"count": 2000}, timeout=SECONDS, stream=True) as many:
            assert many.status_code == 200 and many.headers["content-type"] == "application/x-ndjson", many.headers
            rows = [json.loads(line) for line in many.iter_lines()]
        assert [row["id"] for row in rows] == [str(number) for number in range(1, 2001)]
        assert not any("secret" in row or "name" in row or "@problem" in row for row in rows)

        # A number may be a number, a name that of the contract, and an empty body an empty message.
        assert http.post(url(options, "/test.v1.Records/Find"), json={"id": 2}, timeout=SECONDS).json()["id"] == "2"
        missing = http.post(url(options, "/test.v1.Records/Find"), timeout=SECONDS)
        told = problem(missing, 404, "urn:drawbridge:status:NOT_FOUND")
        assert told["hop"] == "legacy", told
    return {"unary": one.headers["drawbridge-exchange-id"], "stream": many.headers["drawbridge-exchange-id"], "missing": told["exchange"]}


def refusals(options):
    """What is refused, as problem details: by the exchange, which records it, and before there is one."""
    found = []
    find = url(options, "/test.v1.Records/Find")
    with session(options) as http:
        for path, headers, body, status, reason in [
            ("/test.v1.Records/Hidden", {}, {"id": 1}, 403, "NO_AGREEMENT"),
            ("/test.v1.Nothing/Find", {}, {"id": 1}, 403, "NO_AGREEMENT"),
            ("/nothing/at/all", {}, {"id": 1}, 403, "NO_AGREEMENT"),
            ("/test.v1.Records/Nothing", {}, {"id": 1}, 501, "UNKNOWN_METHOD"),
            ("/test.v1.Records/Find", {"Drawbridge-Purpose": "curiosity"}, {"id": 1}, 403, "WRONG_PURPOSE"),
            ("/test.v1.Records/Find", {"Drawbridge-Case": None}, {"id": 1}, 400, "METADATA"),
            ("/test.v1.Records/Find", {"Drawbridge-Consumer": "x"}, {"id": 1}, 400, "METADATA"),
            ("/test.v1.Records/Unbound", {}, {"id": 1}, 403, "NO_AGREEMENT"),
            ("/test.v1.Records/Hidden", {}, {"nothing": 1}, 403, "NO_AGREEMENT"),
        ]:
            response = http.post(url(options, path), json=body, headers=headers, timeout=SECONDS)
            told = problem(response, status, f"urn:drawbridge:refusal:{reason}")
            assert told["reason"] == reason and not told["detail"].startswith(reason) and "violations" not in told, told
            assert told["hop"] == ("provider" if path.endswith("Unbound") else "consumer"), told
            found.append((reason, told["exchange"]))

        for body, field in [
            (b'{"id": "canary-7f3a"}', "id"),
            (b'{"canary": 1}', "canary"),
            (b'{"id": 1', ""),
            (b'["canary-7f3a"]', ""),
            (b"[" * 10_000, ""),
        ]:
            response = http.post(find, data=body, headers={"Content-Type": "application/json; charset=utf-8"}, timeout=SECONDS)
            told = problem(response, 400, "urn:drawbridge:refusal:MALFORMED")
            assert [violation["field"] for violation in told["violations"]] == [field], told
            assert "canary-7f3a" not in response.text, response.text
            found.append(("MALFORMED", told["exchange"]))

        # The longer one is still being sent when it is refused.
        for mebibytes in (4, 12):
            large = json.dumps({"id": "1" * (mebibytes * 1024 * 1024)})
            response = http.post(find, data=large, headers={"Content-Type": "application/json"}, timeout=SECONDS)
            found.append(("TOO_LARGE", problem(response, 413, "urn:drawbridge:refusal:TOO_LARGE")["exchange"]))

        told = problem(http.post(find, data=b"x", headers={"Content-Type": "text/plain"}, timeout=SECONDS), 415, "about:blank")
        assert "exchange" not in told, told
        wrong = http.get(find, timeout=SECONDS)
        problem(wrong, 405, "about:blank")
        assert wrong.headers["allow"] == "POST", wrong.headers
        head = http.get(find, headers={f"X-Long-{number}": "x" * 8500 for number in range(2)}, timeout=SECONDS)
        assert head.status_code == 431, head.status_code
        grpc = http.post(find, data=b"\0\0\0\0\0", headers={"Content-Type": "application/grpc"}, timeout=SECONDS)
        assert grpc.status_code == 505, grpc.status_code
    return {"refusals": found}


def certificates(options):
    """Who has no certificate of this member's systems gets no answer at all."""
    turned_away = 0
    theirs = argparse.Namespace(folder=options.other, clients=options.clients)
    for folder, system in [(options, None), (theirs, "discharge"), (options, "../tls/gateway")]:
        with session(folder, system) as http:
            http.verify = str(options.folder / "offline/authority.pem")
            try:
                http.post(url(options, "/test.v1.Records/Find"), json={"id": 1}, timeout=SECONDS)
            except requests.exceptions.ConnectionError:
                turned_away += 1
    assert turned_away == 3, turned_away
    with session(options, "planning") as http:
        response = http.post(url(options, "/test.v1.Records/Find"), json={"id": 1}, timeout=SECONDS)
        problem(response, 403, "urn:drawbridge:refusal:NO_AGREEMENT")
    return {}


def documents(options):
    """The document holds what the system may use, is valid, and leads to answers."""
    with session(options) as http:
        got = http.get(url(options, "/openapi.json"), timeout=SECONDS)
        assert got.status_code == 200 and got.headers["content-type"] == "application/json", got.text
        document = got.json()
        OpenAPIV31SpecValidator(document).validate()
        operation = document["paths"]["/shelf.v1.Shelf/Find"]["post"]
        assert operation["description"] == "One item of the shelf.", operation
        item = document["paths"]["/v1/items/{id}"]["get"]
        assert item["parameters"][0]["name"] == "id" and item["parameters"][0]["in"] == "path", item
        assert "WRONG_PURPOSE" in document["components"]["responses"]["Status403"]["description"]
        found = http.get(url(options, "/v1/items/1"), timeout=SECONDS)
        assert found.status_code == 200 and found.json() == {"id": "1", "title": "Archer"}, found.text
        problem(http.get(url(options, "/v1/items/canary"), timeout=SECONDS), 400, "urn:drawbridge:refusal:MALFORMED")
        problem(http.delete(url(options, "/v1/items/1"), timeout=SECONDS), 405, "about:blank")
    with session(options, "planning") as http:
        nothing = http.get(url(options, "/openapi.json"), timeout=SECONDS).json()
        OpenAPIV31SpecValidator(nothing).validate()
        assert nothing["paths"] == {}, nothing["paths"]
    return {"paths": sorted(document["paths"]), "exchange": found.headers["drawbridge-exchange-id"]}


def back_end(options):
    """What a back end of the provider's says itself crosses, details included; a stream that fails at once has a status of its own."""
    with session(options) as http:
        for method in ("Say", "Repeat"):
            failed = http.post(url(options, f"/test.v1.Echo/{method}"), json={"text": "no", "status": 9}, timeout=SECONDS)
            told = problem(failed, 400, "urn:drawbridge:status:FAILED_PRECONDITION")
            assert told["detail"] == "as told: no – 100 %" and told["hop"] == "legacy", told
            assert told["violations"] == [{"field": "text", "description": "no"}], told
        with http.post(url(options, "/test.v1.Echo/Repeat"), json={"text": "é\n", "times": 3}, timeout=SECONDS, stream=True) as many:
            assert [json.loads(line)["text"] for line in many.iter_lines()] == ["é\n"] * 3
    return {}


def frames(body):
    """Takes gRPC-Web's frames apart: the messages, and the trailers."""
    messages, trailers = [], {}
    while body:
        flag, length = body[0], int.from_bytes(body[1:5], "big")
        frame, body = body[5 : 5 + length], body[5 + length :]
        if flag & 0x80:
            trailers = dict(line.split(": ", 1) for line in frame.decode().split("\r\n") if line)
            assert not body, "something follows the trailers"
        else:
            messages.append(frame)
    return messages, trailers


def pieces(text):
    """Decodes base64 that is padded wherever the sender flushed."""
    body, begin = b"", 0
    for end in range(4, len(text) + 1, 4):
        if text[end - 1 : end] == b"=" or end == len(text):
            body, begin = body + base64.b64decode(text[begin:end], validate=True), end
    assert begin == len(text), "a piece is cut"
    return body


def web(options, text=False):
    """gRPC-Web: the messages of gRPC, and the trailers as a last frame; over HTTP/1.1."""
    from stubs import receipts_pb2, records_pb2

    form = "application/grpc-web-text" if text else "application/grpc-web"
    with session(options) as http:

        def post(method, body, accept=form):
            headers = {"Content-Type": f"{form}+proto", "Accept": accept, "X-Grpc-Web": "1"}
            response = http.post(url(options, method), data=body, headers=headers, timeout=SECONDS)
            assert response.status_code == 200 and response.headers["content-type"] == f"{accept}+proto", response.headers
            messages, trailers = frames(pieces(response.content) if accept.endswith("text") else response.content)
            return messages, trailers or response.headers, response.headers

        def call(method, message, **more):
            framed = b"\0" + len(message).to_bytes(4, "big") + message
            # In two pieces, each with its padding.
            body = base64.b64encode(framed[:4]) + base64.b64encode(framed[4:]) if text else framed
            return post(method, body, **more)

        find = records_pb2.FindRequest(id=1).SerializeToString()
        messages, trailers, initial = call("/test.v1.Records/Find", find)
        assert trailers["grpc-status"] == "0", trailers
        assert records_pb2.Record.FromString(messages[0]).name.family == "Archer", messages
        exchange = initial["drawbridge-exchange-id"]
        # The answer has the form that is accepted, whatever that of the request is.
        other = "application/grpc-web" if text else "application/grpc-web-text"
        assert call("/test.v1.Records/Find", find, accept=other)[0] == messages
        messages, trailers, _ = call("/test.v1.Records/List", records_pb2.ListRequest(count=500).SerializeToString())
        assert (len(messages), trailers["grpc-status"]) == (500, "0"), trailers
        messages, trailers, _ = call("/test.v1.Records/Hidden", b"")
        assert not messages and trailers["grpc-status"] == "7" and trailers["drawbridge-hop"] == "consumer", trailers
        receipt = receipts_pb2.GetReceiptRequest(exchange_id=exchange).SerializeToString()
        messages, trailers, _ = call("/drawbridge.exchange.v1.Receipts/Get", receipt)
        assert receipts_pb2.GetReceiptResponse.FromString(messages[0]).receipt.exchange_id == exchange, trailers
        refused = []
        for body in (b"AAAAAAI=!", b"AAAAAAI", b"AAA") if text else (b"\0\0\0\0\2a",):
            messages, trailers, initial = post("/test.v1.Records/Find", body)
            assert not messages and trailers["grpc-status"] == "3", trailers
            refused.append(initial["drawbridge-exchange-id"])
    return {"exchange": exchange, "refused": refused}


def web_text(options):
    """gRPC-Web in base64."""
    return web(options, text=True)


def streams(options):
    """A stream of requests as lines, as the document says: sent while they are made, without anyone knowing how many there will be."""
    path = "/grpc.testing.TestService/StreamingInputCall"
    with session(options) as http:
        document = http.get(url(options, "/openapi.json"), timeout=SECONDS).json()
        OpenAPIV31SpecValidator(document).validate()
        operation = document["paths"][path]["post"]
        assert list(operation["requestBody"]["content"]) == ["application/x-ndjson"], operation["requestBody"]
        assert list(operation["responses"]["200"]["content"]) == ["application/json"], operation["responses"]["200"]
        both = document["paths"]["/grpc.testing.TestService/FullDuplexCall"]["post"]
        assert list(both["requestBody"]["content"]) == list(both["responses"]["200"]["content"]) == ["application/x-ndjson"], both
        lines = (json.dumps({"payload": {"body": "AAAA"}}).encode() + b"\n" for _ in range(1000))
        answer = http.post(url(options, path), data=lines, headers={"Content-Type": "application/x-ndjson"}, timeout=SECONDS)
        assert answer.status_code == 200 and answer.json() == {"aggregatedPayloadSize": 3000}, answer.text
    return {"exchange": answer.headers["drawbridge-exchange-id"]}


def cut(options):
    """A stream that is cut says so in its last line."""
    with session(options) as http:
        with http.post(url(options, "/test.v1.Records/List"), json={"count": "100000000"}, timeout=SECONDS, stream=True) as many:
            lines = many.iter_lines()
            assert "id" in json.loads(next(lines))
            print("begun", flush=True)
            sys.stdin.readline()
            last = None
            for line in lines:
                last = line
    told = json.loads(last)
    assert list(told) == ["@problem"], told
    assert told["@problem"]["reason"] == "UNANSWERED" and told["@problem"]["status"] == 503, told
    return {"exchange": told["@problem"]["exchange"]}


def main():
    parser = argparse.ArgumentParser()
    checks = {check.__name__: check for check in (answers, refusals, certificates, documents, back_end, web, web_text, streams, cut)}
    parser.add_argument("check", choices=sorted(checks))
    parser.add_argument("--clients", required=True)
    parser.add_argument("--folder", required=True, type=pathlib.Path)
    parser.add_argument("--other", type=pathlib.Path)
    options = parser.parse_args()
    print(json.dumps(checks[options.check](options)))


if __name__ == "__main__":
    main()
