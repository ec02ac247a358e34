"""gRPC's interoperability cases, asked through two gateways. Each prints nothing and fails loudly.

Source: gRPC's "Interoperability Test Case Descriptions".
"""

import json
import queue

import grpc

import partner
from partner import SECONDS, TRUST
from stubs import interop_pb2, interop_pb2_grpc

METADATA = (("drawbridge-provider", TRUST), ("drawbridge-purpose", "safeguarding"))
OPTIONS = {"metadata": METADATA, "timeout": SECONDS}
LIMIT = 4 * 1024 * 1024
SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"


def payload(size):
    return interop_pb2.Payload(body=bytes(size))


def asking(*sizes, size=0, **more):
    parameters = [interop_pb2.ResponseParameters(size=each, **more) for each in sizes]
    return interop_pb2.StreamingOutputCallRequest(response_parameters=parameters, payload=payload(size))


class Asked:
    """Requests that are put in one by one."""

    def __init__(self):
        self.waiting = queue.Queue()

    def put(self, request):
        self.waiting.put(request)

    def close(self):
        self.waiting.put(None)

    def __iter__(self):
        return iter(self.waiting.get, None)


def failure(call):
    try:
        answer = call()
        if hasattr(answer, "__next__"):
            list(answer)
    except grpc.RpcError as error:
        return error
    raise AssertionError(f"the call was answered: {answer}")


def empty_unary(stub):
    assert stub.EmptyCall(interop_pb2.Empty(), **OPTIONS) == interop_pb2.Empty()


def large_unary(stub):
    request = interop_pb2.SimpleRequest(response_size=314159, payload=payload(271828))
    assert stub.UnaryCall(request, **OPTIONS).payload == payload(314159)


def client_streaming(stub):
    requests = (interop_pb2.StreamingInputCallRequest(payload=payload(size)) for size in (27182, 8, 1828, 45904))
    assert stub.StreamingInputCall(requests, **OPTIONS).aggregated_payload_size == 74922


def server_streaming(stub):
    sizes = [31415, 9, 2653, 58979]
    answers = stub.StreamingOutputCall(asking(*sizes), **OPTIONS)
    assert [len(answer.payload.body) for answer in answers] == sizes


def ping_pong(stub):
    requests = Asked()
    answers = stub.FullDuplexCall(iter(requests), **OPTIONS)
    for size, asked in zip((31415, 9, 2653, 58979), (27182, 8, 1828, 45904)):
        requests.put(asking(size, size=asked))
        assert len(next(answers).payload.body) == size
    requests.close()
    assert list(answers) == []


def empty_stream(stub):
    assert list(stub.FullDuplexCall(iter(()), **OPTIONS)) == []
    assert stub.StreamingInputCall(iter(()), **OPTIONS).aggregated_payload_size == 0


def status_code_and_message(stub):
    status = interop_pb2.EchoStatus(code=2, message="test status message")
    duplex = interop_pb2.StreamingOutputCallRequest(response_status=status)
    for call in (
        lambda: stub.UnaryCall(interop_pb2.SimpleRequest(response_status=status), **OPTIONS),
        lambda: stub.FullDuplexCall(iter((duplex,)), **OPTIONS),
        # Some answers, then trailers; and trailers alone.
        lambda: stub.StreamingOutputCall(interop_pb2.StreamingOutputCallRequest(response_status=status, response_parameters=[{"size": 5}]), **OPTIONS),
        lambda: stub.StreamingOutputCall(interop_pb2.StreamingOutputCallRequest(response_status=status), **OPTIONS),
    ):
        error = failure(call)
        assert (error.code(), error.details()) == (grpc.StatusCode.UNKNOWN, "test status message"), error


def special_status_message(stub):
    for text in (SPECIAL, "a" * 3000, "ä" * 900):
        status = interop_pb2.EchoStatus(code=2, message=text)
        error = failure(lambda: stub.UnaryCall(interop_pb2.SimpleRequest(response_status=status), **OPTIONS))
        assert (error.code(), error.details()) == (grpc.StatusCode.UNKNOWN, text), error


def unimplemented_method(stub):
    # One that the contract has and the server does not, and one that the contract does not have either.
    error = failure(lambda: stub.UnimplementedCall(interop_pb2.Empty(), **OPTIONS))
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
    assert dict(error.trailing_metadata())["drawbridge-hop"] == "legacy", error.trailing_metadata()
    unknown = stub.channel.unary_unary("/grpc.testing.TestService/NoSuchCall", lambda _: b"", lambda data: data)
    refusal = partner.Refusal(failure(lambda: unknown(None, **OPTIONS)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNKNOWN_METHOD"), refusal


def unimplemented_service(stub):
    unknown = stub.channel.unary_unary("/grpc.testing.UnimplementedService/UnimplementedCall", lambda _: b"", lambda data: data)
    refusal = partner.Refusal(failure(lambda: unknown(None, **OPTIONS)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "NO_AGREEMENT"), refusal


def cancel_after_begin(stub):
    requests = Asked()
    call = stub.StreamingInputCall.future(iter(requests), **OPTIONS)
    call.cancel()
    assert call.cancelled() and call.code() == grpc.StatusCode.CANCELLED
    requests.close()


def cancel_after_first_response(stub):
    requests = Asked()
    answers = stub.FullDuplexCall(iter(requests), **OPTIONS)
    requests.put(asking(31415, size=27182))
    assert len(next(answers).payload.body) == 31415
    answers.cancel()
    assert answers.code() == grpc.StatusCode.CANCELLED
    requests.close()


def timeout_on_sleeping_server(stub):
    requests = Asked()
    requests.put(asking(31415, size=27182, interval_us=60_000_000))
    for timeout in (0.001, 1):
        answers = stub.FullDuplexCall(iter(requests), metadata=METADATA, timeout=timeout)
        error = failure(lambda: answers)
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    requests.close()


def many_messages(stub):
    """10,000 messages each way, both ends busy at once, and then one way each."""
    count = 10_000
    answers = stub.FullDuplexCall((asking(3, size=5) for _ in range(count)), **OPTIONS)
    assert sum(1 for _ in answers) == count
    requests = (interop_pb2.StreamingInputCallRequest(payload=payload(7)) for _ in range(count))
    assert stub.StreamingInputCall(requests, **OPTIONS).aggregated_payload_size == 7 * count
    assert sum(1 for _ in stub.StreamingOutputCall(asking(*[3] * count), **OPTIONS)) == count


def early_answer(stub):
    """The server ends the call while the client still has the stream open."""
    requests = Asked()
    status = interop_pb2.EchoStatus(code=10, message="enough")
    answers = stub.FullDuplexCall(iter(requests), **OPTIONS)
    requests.put(asking(10, size=10))
    assert len(next(answers).payload.body) == 10
    requests.put(interop_pb2.StreamingOutputCallRequest(response_status=status))
    error = failure(lambda: answers)
    assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "enough"), error
    requests.close()


def largest_messages(stub):
    """A message of exactly the limit passes, one of a byte more does not: each way, alone and in a stream."""

    def sized(make, total):
        body = total - 64
        while make(body).ByteSize() < total:
            body += 1
        assert make(body).ByteSize() == total
        return make(body)

    unary = lambda size: interop_pb2.SimpleRequest(payload=payload(size))
    stub.UnaryCall(sized(unary, LIMIT), **OPTIONS)
    error = failure(lambda: stub.UnaryCall(sized(unary, LIMIT + 1), **OPTIONS))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, error

    streamed = lambda size: interop_pb2.StreamingInputCallRequest(payload=payload(size))
    small = interop_pb2.StreamingInputCallRequest(payload=payload(1))
    answer = stub.StreamingInputCall(iter((small, sized(streamed, LIMIT), small)), **OPTIONS)
    assert answer.aggregated_payload_size > LIMIT - 64
    error = failure(lambda: stub.StreamingInputCall(iter((small, sized(streamed, LIMIT + 1))), **OPTIONS))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, error

    answered = lambda size: interop_pb2.SimpleResponse(payload=payload(size))
    fits = len(sized(answered, LIMIT).payload.body)
    assert len(stub.UnaryCall(interop_pb2.SimpleRequest(response_size=fits), **OPTIONS).payload.body) == fits
    failure(lambda: stub.UnaryCall(interop_pb2.SimpleRequest(response_size=fits + 1), **OPTIONS))
    assert [len(a.payload.body) for a in stub.StreamingOutputCall(asking(1, fits), **OPTIONS)] == [1, fits]
    failure(lambda: stub.StreamingOutputCall(asking(1, fits + 1), **OPTIONS))


ECHOED = (("x-grpc-test-echo-initial", "test_initial_metadata_value"), ("x-grpc-test-echo-trailing-bin", b"\xab\xab\xab"))


def calls(stub, given, status=None):
    """A call of each kind with metadata; returns what came back, initial and trailing."""
    options = {"metadata": METADATA + given, "timeout": SECONDS}
    duplex = asking(31415, size=27182)
    duplex.response_status.CopyFrom(status or interop_pb2.EchoStatus())
    if not status:
        duplex.ClearField("response_status")
    unary = interop_pb2.SimpleRequest(response_size=31415, payload=payload(271828), response_status=status)
    small = interop_pb2.StreamingInputCallRequest(payload=payload(7))
    begun = (
        lambda: stub.UnaryCall.with_call(unary, **options)[1],
        lambda: stub.FullDuplexCall(iter((duplex,)), **options),
        lambda: stub.StreamingOutputCall(duplex, **options),
        lambda: stub.StreamingInputCall.with_call(iter((small, small)), **options)[1],
    )
    for begin in begun[:3] if status else begun:
        try:
            call = begin()
            if hasattr(call, "__next__"):
                list(call)
        except grpc.RpcError as error:
            assert status and error.code().value[0] == status.code, error
            call = error
        yield list(call.initial_metadata()), list(call.trailing_metadata())


def values(metadata, key):
    return [value for name, value in metadata if name == key]


def custom_metadata(stub):
    for initial, trailing in calls(stub, ECHOED):
        assert values(initial, ECHOED[0][0]) == [ECHOED[0][1]], initial
        assert values(trailing, ECHOED[1][0]) == [ECHOED[1][1]], trailing
        assert not values(trailing, ECHOED[0][0]) and not values(initial, ECHOED[1][0]), (initial, trailing)
    # With an error too; where there was nothing but the error, gRPC's own rules put all of it into the trailers.
    for initial, trailing in calls(stub, ECHOED, interop_pb2.EchoStatus(code=9, message="told to")):
        assert values(initial + trailing, ECHOED[0][0]) == [ECHOED[0][1]], (initial, trailing)
        assert values(trailing, ECHOED[1][0]) == [ECHOED[1][1]], trailing


def many_values(stub):
    """Several values of a key stay in their order, and bytes stay what they are."""
    text = ["second", "first", "with, comma", ""]
    binary = [bytes(range(256)), b"", b"\0,\xff"]
    given = (*(("x-many", value) for value in text), *(("x-many-bin", value) for value in binary))
    for initial, trailing in calls(stub, given):
        assert values(initial, "x-many") == text, initial
        assert values(trailing, "x-many-bin") == binary, trailing


def unnamed_metadata(stub):
    """What the agreement does not name stays behind in both directions, and so does what never crosses."""
    given = (("authorization", "Bearer canary"), ("cookie", "canary=1"), ("x-unnamed", "canary"), ("x-unnamed-bin", b"canary"))
    for initial, trailing in calls(stub, ECHOED + given):
        (seen,) = values(trailing, "x-seen")
        assert {ECHOED[0][0], ECHOED[1][0], "drawbridge-purpose"} <= set(seen.split()), seen
        assert not {"authorization", "cookie", "x-unnamed", "x-unnamed-bin"} & set(seen.split()), seen
        assert "canary" not in repr(initial + trailing) and "forged" not in repr(initial + trailing), (initial, trailing)
    # Under another purpose the agreement names none at all.
    quiet = (*METADATA[:1], ("drawbridge-purpose", "quiet"), *ECHOED)
    _, call = stub.UnaryCall.with_call(interop_pb2.SimpleRequest(), metadata=quiet, timeout=SECONDS)
    assert "x-grpc" not in repr(call.initial_metadata()) + repr(call.trailing_metadata())


def too_much_metadata(stub):
    def refusals(given):
        options = {"metadata": METADATA + given, "timeout": SECONDS}
        yield partner.Refusal(failure(lambda: stub.UnaryCall(interop_pb2.SimpleRequest(), **options)))
        yield partner.Refusal(failure(lambda: stub.FullDuplexCall(iter((asking(5),)), **options)))

    for refusal in refusals((("x-many", "c" * 4096),)):
        assert (refusal.code, refusal.reason, refusal.hop) == (grpc.StatusCode.INVALID_ARGUMENT, "METADATA", "consumer"), refusal
        assert "`x-many`" in refusal.message and "cccc" not in refusal.message, refusal
    for refusal in refusals((("x-many", ""),) * 33):
        assert (refusal.reason, refusal.hop) == ("METADATA", "consumer"), refusal
    # The request may hold twice what an answer may: the server sends it back.
    for refusal in refusals((("x-many", "c" * 1200),) * 2):
        assert (refusal.code, refusal.reason, refusal.hop) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_LARGE", "legacy"), refusal
        assert "`x-many`" in refusal.message and "cccc" not in refusal.message, refusal


def early_initial_metadata(stub):
    """What opens an answer comes before the first message, while the server waits for a request."""
    requests = Asked()
    answers = stub.FullDuplexCall(iter(requests), metadata=METADATA + ECHOED, timeout=SECONDS)
    assert values(answers.initial_metadata(), ECHOED[0][0]) == [ECHOED[0][1]]
    requests.put(asking(5, size=5))
    assert len(next(answers).payload.body) == 5
    requests.close()
    assert list(answers) == []


def compressions():
    return grpc.Compression.Gzip, grpc.Compression.NoCompression


def client_compressed_unary(stub):
    """Compressed or not, requests are taken.

    gRPC's own case begins with a probe: whether the server sees that a request should have been compressed and was not. The server
    here is behind two gateways that unpack, so it is left out; `tests/it/compression.rs` looks at the bytes on the client's hop.
    """
    request = interop_pb2.SimpleRequest(response_size=314159, payload=payload(271828))
    for compression in compressions():
        assert stub.UnaryCall(request, compression=compression, **OPTIONS).payload == payload(314159)


def server_compressed_unary(stub):
    for compression in compressions():
        wanted = interop_pb2.BoolValue(value=compression == grpc.Compression.Gzip)
        request = interop_pb2.SimpleRequest(response_size=314159, response_compressed=wanted)
        assert stub.UnaryCall(request, compression=compression, **OPTIONS).payload == payload(314159)


def client_compressed_streaming(stub):
    for compression in compressions():
        requests = (interop_pb2.StreamingInputCallRequest(payload=payload(size)) for size in (27182, 45904))
        assert stub.StreamingInputCall(requests, compression=compression, **OPTIONS).aggregated_payload_size == 73086


def server_compressed_streaming(stub):
    for compression in compressions():
        answers = stub.StreamingOutputCall(asking(31415, 92653), compression=compression, **OPTIONS)
        assert [len(answer.payload.body) for answer in answers] == [31415, 92653]
        answers = stub.FullDuplexCall((asking(3, size=500) for _ in range(1000)), compression=compression, **OPTIONS)
        assert sum(1 for _ in answers) == 1000


def compressed_beyond_the_limit(stub):
    """What unpacks to more than a message may be is refused, however small it came; the message of exactly the limit is not."""
    gzip = {"compression": grpc.Compression.Gzip, **OPTIONS}
    fits = interop_pb2.SimpleRequest(payload=payload(LIMIT - 64))
    stub.UnaryCall(fits, **gzip)
    for size in (LIMIT, 64 * LIMIT):
        refusal = partner.Refusal(failure(lambda: stub.UnaryCall(interop_pb2.SimpleRequest(payload=payload(size)), **gzip)))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_LARGE"), refusal
        requests = iter((interop_pb2.StreamingInputCallRequest(payload=payload(size)),))
        refusal = partner.Refusal(failure(lambda: stub.StreamingInputCall(requests, **gzip)))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_LARGE"), refusal


CASES = [
    empty_unary,
    large_unary,
    client_streaming,
    server_streaming,
    ping_pong,
    empty_stream,
    status_code_and_message,
    special_status_message,
    unimplemented_method,
    unimplemented_service,
    cancel_after_begin,
    cancel_after_first_response,
    timeout_on_sleeping_server,
    many_messages,
    early_answer,
    largest_messages,
    custom_metadata,
    many_values,
    unnamed_metadata,
    too_much_metadata,
    early_initial_metadata,
    client_compressed_unary,
    server_compressed_unary,
    client_compressed_streaming,
    server_compressed_streaming,
    compressed_beyond_the_limit,
]


if __name__ == "__main__":
    given = partner.arguments()
    case = next(case for case in CASES if case.__name__ == given.check)
    with partner.channel(given) as channel:
        stub = interop_pb2_grpc.TestServiceStub(channel)
        stub.channel = channel
        case(stub)
    print(json.dumps({"case": given.check}))
