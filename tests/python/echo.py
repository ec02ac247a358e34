"""A partner system of the council that asks a back end of the trust's, which speaks gRPC itself, through two gateways."""

import json
import statistics
import threading
import time

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

import partner
from partner import SECONDS, STANDARD, metadata
from stubs import records_pb2, records_pb2_grpc

Say = records_pb2.SayRequest


def crosses(options):
    """Answers and streams, and what the back end learns of the asker."""
    with partner.channel(options) as channel:
        echo = records_pb2_grpc.EchoStub(channel)
        given = metadata(actor="sw-7;role=social%20worker", case="case-1", justification="because")
        given += (("authorization", "Bearer canary"), ("cookie", "canary=1"), ("x-application", "canary"))
        said, call = echo.Say.with_call(Say(text="hello"), metadata=given, timeout=SECONDS)
        assert said.text == "hello"
        seen = dict(line.split("=", 1) for line in said.metadata)
        assert seen["drawbridge-consumer"] == "council.example/revenues", seen
        assert seen["drawbridge-purpose"] == "safeguarding", seen
        assert seen["drawbridge-actor"] == "sw%2D7;role=social%20worker", seen
        assert not {"authorization", "cookie", "x-application", "drawbridge-justification"} & set(seen), seen
        assert "canary" not in " ".join(said.metadata), seen
        initial, trailing = dict(call.initial_metadata()), dict(call.trailing_metadata())
        assert "forged" not in str(initial) + str(trailing) and "set-cookie" not in initial, (initial, trailing)
        assert initial["drawbridge-exchange-id"] == seen["drawbridge-exchange-id"], (initial, seen)
        unary = initial["drawbridge-exchange-id"]

        stream = echo.Repeat(Say(text="again", times=3000), metadata=STANDARD, timeout=SECONDS)
        assert [message.text for message in stream] == ["again"] * 3000
        streamed = dict(stream.initial_metadata())["drawbridge-exchange-id"]
        assert "forged" not in str(stream.initial_metadata()) + str(stream.trailing_metadata())
        empty = list(echo.Repeat(Say(text="never"), metadata=STANDARD, timeout=SECONDS))
        assert empty == []
    return {"unary": unary, "stream": streamed}


def fails(options):
    """The back end's own status crosses unchanged: code, message and details."""
    exchanges = []
    with partner.channel(options) as channel:
        echo = records_pb2_grpc.EchoStub(channel)
        for call in (echo.Say, echo.Repeat):
            for code in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED):
                request = Say(text="née", status=code.value[0], times=1)
                try:
                    answer = call(request, metadata=STANDARD, timeout=SECONDS)
                    list(answer)
                    raise AssertionError("the back end was to fail")
                except grpc.RpcError as error:
                    status = rpc_status.from_call(error)
                    assert (error.code(), status.message) == (code, "as told: née – 100 %"), error
                    violation = error_details_pb2.BadRequest()
                    assert len(status.details) == 1 and status.details[0].Unpack(violation), status
                    assert violation.field_violations[0].description == "née", violation
                    # What the gateways decline looks different.
                    assert dict(error.trailing_metadata())["drawbridge-hop"] == "legacy", error.trailing_metadata()
                    exchanges.append([dict(error.initial_metadata())["drawbridge-exchange-id"], status.SerializeToString().hex()])
    return {"exchanges": exchanges}


def stops(options):
    """A caller that leaves and a deadline that passes both reach the back end."""
    with partner.channel(options) as channel:
        echo = records_pb2_grpc.EchoStub(channel)
        code = partner.code_of(lambda: echo.Say(Say(text="deadline", delay_ms=60_000), metadata=STANDARD, timeout=1))
        assert code == grpc.StatusCode.DEADLINE_EXCEEDED, code
        ended = threading.Event()
        call = echo.Say.future(Say(text="cancelled", delay_ms=60_000), metadata=STANDARD)
        call.add_done_callback(lambda _: ended.set())
        print("asked", flush=True)
        # The test says when the back end has been asked.
        input()
        call.cancel()
        assert ended.wait(SECONDS)
        stream = echo.Repeat(Say(text="stream", times=1_000_000_000), metadata=STANDARD)
        for _ in range(10):
            next(stream)
        stream.cancel()
        assert stream.code() == grpc.StatusCode.CANCELLED
    return {}


def pace(options):
    """One caller, one call after the other: nothing waits for a delayed acknowledgement."""

    def median(stub, given):
        took = []
        for at in range(220):
            begun = time.perf_counter()
            stub.Say(Say(text="tick"), metadata=given, timeout=SECONDS)
            took.append(time.perf_counter() - begun)
        # The first ones dial.
        return statistics.median(took[20:])

    with partner.channel(options) as channel, grpc.insecure_channel(options.backend, options=[("grpc.enable_http_proxy", 0)]) as straight:
        direct = median(records_pb2_grpc.EchoStub(straight), ())
        through = median(records_pb2_grpc.EchoStub(channel), STANDARD)
    return {"direct": direct, "through": through}


if __name__ == "__main__":
    given = partner.arguments("backend")
    checks = {"crosses": crosses, "fails": fails, "stops": stops, "pace": pace}
    print(json.dumps(checks[given.check](given)))
