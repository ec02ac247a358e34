"""A partner system of the council, asking through two gateways. Prints one JSON object: the exchanges that the logs must hold."""

import json
import pathlib
import threading

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

import partner
from partner import SECONDS, STANDARD, metadata, refused
from stubs import receipts_pb2, receipts_pb2_grpc, records_pb2, records_pb2_grpc

Find = records_pb2.FindRequest
List = records_pb2.ListRequest


def exchange_of(call):
    """Returns the exchange's id from the initial metadata."""
    return dict(call.initial_metadata())["drawbridge-exchange-id"]


def answers(options):
    """Unary and streaming, with what the gateway adds, and the receipt."""
    with partner.channel(options) as channel:
        records = records_pb2_grpc.RecordsStub(channel)
        record, call = records.Find.with_call(Find(id=1), metadata=STANDARD, timeout=SECONDS)
        assert (record.id, record.name.family, record.note) == (1, "Archer", "checked"), record
        assert not record.name.given and not record.secret, record
        initial = dict(call.initial_metadata())
        assert initial["drawbridge-withheld"].startswith("sha256:"), initial
        assert "drawbridge-hop" not in dict(call.trailing_metadata())
        added = sum(len(key) + len(value) for key, value in (*call.initial_metadata(), *call.trailing_metadata()))
        assert added <= 2048, added
        unary = initial["drawbridge-exchange-id"]

        stream = records.List(List(count=2000), metadata=STANDARD, timeout=SECONDS)
        rows = list(stream)
        assert [row.id for row in rows] == list(range(1, 2001))
        assert not any(row.secret or row.HasField("name") for row in rows)
        assert stream.code() == grpc.StatusCode.OK
        streamed = exchange_of(stream)

        receipts = receipts_pb2_grpc.ReceiptsStub(channel)
        for exchange, compression in ((unary, None), (streamed, grpc.Compression.Gzip)):
            request = receipts_pb2.GetReceiptRequest(exchange_id=exchange)
            got = receipts.Get(request, timeout=SECONDS, compression=compression)
            assert got.receipt.exchange_id == exchange and got.complete, got
            assert "secret" in got.withheld and "note" in got.released, got
            assert got.receipt.consumer.checkpoint.startswith("council.example/log/main\n"), got
            assert got.receipt.provider.checkpoint.startswith("trust.example/log/main\n"), got
        unknown = receipts_pb2.GetReceiptRequest(exchange_id="01890000-0000-7000-8000-000000000000")
        assert refused(lambda: receipts.Get(unknown, timeout=SECONDS)).code == grpc.StatusCode.NOT_FOUND
        nonsense = receipts_pb2.GetReceiptRequest(exchange_id="x")
        assert refused(lambda: receipts.Get(nonsense, timeout=SECONDS)).code == grpc.StatusCode.INVALID_ARGUMENT
    with partner.channel(options, "planning") as channel:
        # Another system of the same member does not get it.
        theirs = receipts_pb2.GetReceiptRequest(exchange_id=unary)
        receipts = receipts_pb2_grpc.ReceiptsStub(channel)
        assert refused(lambda: receipts.Get(theirs, timeout=SECONDS)).code == grpc.StatusCode.NOT_FOUND
    return {"unary": unary, "stream": streamed}


def check(refusal, reason, code, hop, retry=False):
    """Holds a refusal against what it has to be, and returns its exchange."""
    assert (refusal.reason, refusal.code, refusal.hop) == (reason, code, hop), refusal
    assert refusal.domain == "drawbridge", refusal
    assert refusal.message.startswith(f"{reason}: "), refusal
    assert refusal.trailing["drawbridge-hop"] == hop, refusal.trailing
    assert refusal.initial.get("drawbridge-exchange-id", refusal.exchange) == refusal.exchange, refusal.initial
    assert (refusal.retry is not None) == retry, f"{refusal}: retry {refusal.retry}"
    return refusal.exchange


def refusals(options):
    """Every reason that a client can bring about by itself, against a provider that runs."""
    code = grpc.StatusCode
    with partner.channel(options) as channel, partner.channel(options, "planning") as planning:
        records = records_pb2_grpc.RecordsStub(channel)
        echo = records_pb2_grpc.EchoStub(channel)
        find = Find(id=1)

        def unary(path, message=find.SerializeToString(), given=STANDARD):
            call = channel.unary_unary(path, request_serializer=lambda raw: raw, response_deserializer=lambda raw: raw)
            return refused(lambda: call(message, metadata=given, timeout=SECONDS))

        def asked(**changes):
            return refused(lambda: records.Find(find, metadata=metadata(**changes), timeout=SECONDS))

        found = [
            ("NO_AGREEMENT", code.PERMISSION_DENIED, "consumer", unary("/test.v1.Nothing/Find")),
            ("NO_AGREEMENT", code.PERMISSION_DENIED, "consumer", asked(provider="police.example")),
            ("NO_AGREEMENT", code.PERMISSION_DENIED, "consumer",
             refused(lambda: records_pb2_grpc.RecordsStub(planning).Find(find, metadata=STANDARD, timeout=SECONDS))),
            ("NO_AGREEMENT", code.PERMISSION_DENIED, "provider", unary("/test.v1.Records/Unbound")),
            ("WRONG_PURPOSE", code.PERMISSION_DENIED, "consumer", asked(purpose="curiosity")),
            ("AGREEMENT_ENDED", code.PERMISSION_DENIED, "consumer",
             refused(lambda: records.Hidden(find, metadata=STANDARD, timeout=SECONDS))),
            ("UNKNOWN_METHOD", code.UNIMPLEMENTED, "consumer", unary("/test.v1.Records/Nothing")),
            ("MALFORMED", code.INVALID_ARGUMENT, "consumer", unary("/test.v1.Records/Find", b"\x08")),
            ("MALFORMED", code.INVALID_ARGUMENT, "consumer", unary("/test.v1.Records/Find", b"\x98\x06\x01")),
            ("TOO_LARGE", code.RESOURCE_EXHAUSTED, "consumer",
             refused(lambda: echo.Say(records_pb2.SayRequest(text="x" * 4_200_000), metadata=STANDARD, timeout=SECONDS))),
            ("METADATA", code.INVALID_ARGUMENT, "consumer", asked(case=None)),
            ("METADATA", code.INVALID_ARGUMENT, "consumer", asked(purpose=None)),
            ("METADATA", code.INVALID_ARGUMENT, "consumer", asked(provider=None)),
            ("METADATA", code.INVALID_ARGUMENT, "consumer", asked(consumer="trust.example")),
            ("METADATA", code.INVALID_ARGUMENT, "consumer", asked(unheard_of="x")),
            ("METADATA", code.INVALID_ARGUMENT, "consumer", asked(actor="a;kind=b")),
            ("CONNECTOR_FAILED", code.UNAVAILABLE, "legacy",
             refused(lambda: echo.Say(records_pb2.SayRequest(text="x"), metadata=STANDARD, timeout=SECONDS))),
            ("CONNECTOR_TIMEOUT", code.DEADLINE_EXCEEDED, "legacy",
             # The binding's own limit, well before the client's deadline.
             refused(lambda: records.Slow(find, metadata=STANDARD, timeout=SECONDS))),
        ]
        recorded = [[reason, check(refusal, reason, status, hop)] for reason, status, hop, refusal in found]
        # The unknown field is named by its number, and nothing else of the request is.
        assert "99" in found[8][3].message, found[8][3]
    return {"refusals": recorded}


def link_down(options):
    """The provider's gateway is away: asking again later may help, and the error says so."""
    with partner.channel(options) as channel:
        records = records_pb2_grpc.RecordsStub(channel)
        refusal = refused(lambda: records.Find(Find(id=1), metadata=STANDARD, timeout=SECONDS))
        return {"exchange": check(refusal, "LINK_DOWN", grpc.StatusCode.UNAVAILABLE, "consumer", retry=True)}


def overloaded(options):
    """Streams that are not read hold all the places that the gateway has."""
    with partner.channel(options) as channel:
        records = records_pb2_grpc.RecordsStub(channel)
        held = [records.List(List(count=100_000_000), metadata=STANDARD) for _ in range(2)]
        for stream in held:
            next(stream)
        refusal = refused(lambda: records.Find(Find(id=1), metadata=STANDARD, timeout=SECONDS))
        check(refusal, "OVERLOADED", grpc.StatusCode.RESOURCE_EXHAUSTED, "consumer", retry=True)
        for stream in held:
            stream.cancel()
    return {}


def not_recorded(options):
    """The log of one of the gateways is on a disk that is full: it answers nothing that it cannot record."""
    with partner.channel(options) as channel:
        records = records_pb2_grpc.RecordsStub(channel)
        for call in (lambda: records.Find(Find(id=1), metadata=STANDARD, timeout=SECONDS),
                     lambda: records.List(List(count=10), metadata=STANDARD, timeout=SECONDS)):
            check(refused(call), "NOT_RECORDED", grpc.StatusCode.UNAVAILABLE, options.hop, retry=True)
    return {}


def unanswered(options):
    """The provider's gateway is killed while it answers a single question and a stream."""
    with partner.channel(options) as channel:
        records = records_pb2_grpc.RecordsStub(channel)
        stream = records.List(List(count=100_000_000), metadata=STANDARD, timeout=SECONDS)
        for _ in range(10):
            next(stream)
        call = records.Slow.future(Find(id=1), metadata=STANDARD, timeout=SECONDS)
        print("asked", flush=True)
        # The test says when the gateway is gone.
        input()
        unavailable = grpc.StatusCode.UNAVAILABLE
        unary = check(refused(call.result), "UNANSWERED", unavailable, "link")
        return {"unary": unary, "stream": check(refused(lambda: stream), "UNANSWERED", unavailable, "link")}


# Every reason there is, with its code and whether the error says when to ask again.
REASONS = {
    "NO_AGREEMENT": (grpc.StatusCode.PERMISSION_DENIED, False),
    "WRONG_PURPOSE": (grpc.StatusCode.PERMISSION_DENIED, False),
    "AGREEMENT_ENDED": (grpc.StatusCode.PERMISSION_DENIED, False),
    "UNKNOWN_METHOD": (grpc.StatusCode.UNIMPLEMENTED, False),
    "CONTRACT_MISMATCH": (grpc.StatusCode.FAILED_PRECONDITION, False),
    "MALFORMED": (grpc.StatusCode.INVALID_ARGUMENT, False),
    "TOO_LARGE": (grpc.StatusCode.RESOURCE_EXHAUSTED, False),
    "METADATA": (grpc.StatusCode.INVALID_ARGUMENT, False),
    "BAD_CLAIMS": (grpc.StatusCode.UNAUTHENTICATED, False),
    "REPLAYED": (grpc.StatusCode.UNAUTHENTICATED, False),
    "STALE_SESSION": (grpc.StatusCode.UNAVAILABLE, True),
    "CLOCK_SKEW": (grpc.StatusCode.FAILED_PRECONDITION, False),
    "NOT_RECORDED": (grpc.StatusCode.UNAVAILABLE, True),
    "UNSETTLED": (grpc.StatusCode.UNAVAILABLE, False),
    "LINK_DOWN": (grpc.StatusCode.UNAVAILABLE, True),
    "UNANSWERED": (grpc.StatusCode.UNAVAILABLE, False),
    "EVIDENCE_MISMATCH": (grpc.StatusCode.DATA_LOSS, False),
    "OVERLOADED": (grpc.StatusCode.RESOURCE_EXHAUSTED, True),
    "CANCELLED": (grpc.StatusCode.CANCELLED, False),
    "CONNECTOR_TIMEOUT": (grpc.StatusCode.DEADLINE_EXCEEDED, False),
    "CONNECTOR_FAILED": (grpc.StatusCode.UNAVAILABLE, False),
    "KEY_REQUIRED": (grpc.StatusCode.INVALID_ARGUMENT, False),
    "KEY_REUSED": (grpc.StatusCode.FAILED_PRECONDITION, False),
    "IN_PROGRESS": (grpc.StatusCode.ABORTED, True),
    "ALREADY_DONE": (grpc.StatusCode.ALREADY_EXISTS, False),
    # It says when to come back where the gateway knows it.
    "QUOTA_EXCEEDED": (grpc.StatusCode.RESOURCE_EXHAUSTED, False),
}


def declined(options):
    """Asks a stand-in for the provider's gateway, which declines for each reason as the test says; a blank line ends it."""
    with partner.channel(options) as channel:
        records = records_pb2_grpc.RecordsStub(channel)
        print("ready", flush=True)
        while said := input():
            reason, hop = said.split()
            refusal = refused(lambda: records.Find(Find(id=1), metadata=STANDARD, timeout=SECONDS))
            code, retry = REASONS[reason]
            print(check(refusal, reason, code, hop, retry), flush=True)
    return {"reasons": sorted(REASONS)}


def mismatch(options):
    """The provider has changed its contract in a way that the agreement's does not allow."""
    with partner.channel(options) as channel:
        records = records_pb2_grpc.RecordsStub(channel)
        refusal = refused(lambda: records.Find(Find(id=1), metadata=STANDARD, timeout=SECONDS))
        return {"exchange": check(refusal, "CONTRACT_MISMATCH", grpc.StatusCode.FAILED_PRECONDITION, "provider")}


def cancels(options):
    """Leaves in the middle of a stream, and in the middle of a unary call."""
    with partner.channel(options) as channel:
        records = records_pb2_grpc.RecordsStub(channel)
        stream = records.List(List(count=100_000_000), metadata=STANDARD)
        for _ in range(10):
            next(stream)
        streamed = exchange_of(stream)
        stream.cancel()
        assert stream.code() == grpc.StatusCode.CANCELLED

        ended = threading.Event()
        call = records.Slow.future(Find(id=1), metadata=STANDARD)
        call.add_done_callback(lambda _: ended.set())
        print("asked", flush=True)
        # The test says when the statement runs.
        input()
        call.cancel()
        assert ended.wait(SECONDS) and call.code() == grpc.StatusCode.CANCELLED
    return {"stream": streamed}


def deadline(options):
    """The deadline that the client sets holds through both gateways, to the statement and to the back end."""
    with partner.channel(options) as channel:
        records = records_pb2_grpc.RecordsStub(channel)
        echo = records_pb2_grpc.EchoStub(channel)
        # Whether the gateway's word or the client's own clock comes first, the code is the same.
        for call in (lambda: records.Slow(Find(id=1), metadata=STANDARD, timeout=1),
                     lambda: records.List(List(count=100_000_000), metadata=STANDARD, timeout=1),
                     lambda: echo.Say(records_pb2.SayRequest(text="deadline", delay_ms=60_000), metadata=STANDARD, timeout=1)):
            code = partner.code_of(call)
            assert code == grpc.StatusCode.DEADLINE_EXCEEDED, code
    return {}


REFLECTION = "/grpc.reflection.{}.ServerReflection/ServerReflectionInfo"
ALWAYS = {"drawbridge.exchange.v1.Receipts", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection", "grpc.health.v1.Health"}


def reflect(channel, version, **request):
    """Asks reflection of one version once. Both versions have the same messages."""
    ask = channel.stream_stream(
        REFLECTION.format(version),
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    return next(ask(iter([reflection_pb2.ServerReflectionRequest(**request)]), timeout=SECONDS))


def shows(channel, version, **request):
    """Whether reflection gives a file; what it does not show it does not know."""
    try:
        return reflect(channel, version, **request).HasField("file_descriptor_response")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
        return False


def reflection(options):
    """A system sees the contracts that it may use, and no other."""
    may = {"revenues": {"test.v1.Records", "test.v1.Echo"}, "planning": set()}
    for system, contracts in may.items():
        with partner.channel(options, system) as channel:
            for version in ("v1", "v1alpha"):
                listed = {s.name for s in reflect(channel, version, list_services="").list_services_response.service}
                assert listed - ALWAYS == contracts, (system, version, listed)
                for symbol in ("test.v1.Records", "test.v1.Record", "test.v1.Echo.Say"):
                    assert shows(channel, version, file_containing_symbol=symbol) == bool(contracts), (system, version, symbol)
                assert shows(channel, version, file_by_filename="test/v1/records.proto") == bool(contracts), (system, version)
    with partner.channel(options) as channel:
        # What reflection says is enough to make a call, without any stub.
        database = ProtoReflectionDescriptorDatabase(channel)
        assert {"test.v1.Records", "test.v1.Echo"} <= set(database.get_services())
        pool = DescriptorPool(database)
        service = pool.FindServiceByName("test.v1.Records")
        assert [method.name for method in service.methods] == ["Find", "List", "Slow", "Hidden", "Unbound"]
        record = pool.FindMessageTypeByName("test.v1.Record")
        assert record.fields_by_name["name"].message_type.full_name == "test.v1.Name"
    return {}


def violations(options):
    """All rules of the contract that a request breaks, read with nothing but `grpc_status` and Google's own messages."""
    broken = records_pb2.LookupRequest(nhs_number="canary", places=[{"postcode": "SW1A 2AA"}, {"postcode": "canary"}], days=730730)
    with partner.channel(options) as channel:
        lookups = records_pb2_grpc.LookupsStub(channel)
        kept = records_pb2.LookupRequest(nhs_number="9434765919", days=366)
        assert lookups.Find(kept, metadata=STANDARD, timeout=SECONDS).id == 1
        try:
            lookups.Find(broken, metadata=STANDARD, timeout=SECONDS)
            raise AssertionError("the request was answered")
        except grpc.RpcError as error:
            status = rpc_status.from_call(error)
    assert (status.code, "canary" in str(status)) == (grpc.StatusCode.INVALID_ARGUMENT.value[0], False), status
    (bad,) = (detail for detail in status.details if detail.Is(error_details_pb2.BadRequest.DESCRIPTOR))
    request = error_details_pb2.BadRequest()
    bad.Unpack(request)
    found = [(violation.field, violation.reason) for violation in request.field_violations]
    assert found == [("nhs_number", "FORMAT_NHS_NUMBER"), ("places[2].postcode", "FORMAT_POSTCODE"), ("days", "RANGE")], found
    assert request.field_violations[2].description == "has to be 1 to 366", request
    (info,) = (detail for detail in status.details if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR))
    told = error_details_pb2.ErrorInfo()
    info.Unpack(told)
    assert (told.reason, told.domain, told.metadata["violations"]) == ("MALFORMED", "drawbridge", "3"), told
    return {}


def health(options):
    """Health is there for every system."""
    for system in ("revenues", "planning"):
        with partner.channel(options, system) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING, answer
    return {}


def compressed(options):
    """What is compressed with gzip is taken; anything else is refused in the way that gRPC has for it."""
    with partner.channel(options) as channel:
        records = records_pb2_grpc.RecordsStub(channel)
        echo = records_pb2_grpc.EchoStub(channel)
        text = records_pb2.SayRequest(text="long enough that it is compressed " * 100)
        refusal = refused(lambda: echo.Say(text, metadata=STANDARD, timeout=SECONDS, compression=grpc.Compression.Deflate))
        assert refusal.code == grpc.StatusCode.UNIMPLEMENTED, refusal
        assert "compressed in a way that is not taken" in refusal.message, refusal
        for compression in (grpc.Compression.Gzip, None):
            assert records.Find(Find(id=1), metadata=STANDARD, timeout=SECONDS, compression=compression).id == 1
    return {}


def turned_down(options):
    """A certificate that is missing, or another member's, is told by TLS itself: never by a connection that is reset."""
    root = (options.folder / "offline/authority.pem").read_bytes()
    systems = pathlib.Path(options.other) / "systems"
    foreign = [(systems / f"discharge{ending}.pem").read_bytes() for ending in (".key", "")]
    for own in (), foreign:
        for _ in range(10):
            credentials = grpc.ssl_channel_credentials(root, *own)
            with grpc.secure_channel(options.clients, credentials, options=partner.UNLIMITED) as channel:
                records = records_pb2_grpc.RecordsStub(channel)
                refusal = refused(lambda: records.Find(Find(id=1), metadata=STANDARD, timeout=SECONDS))
                assert refusal.code == grpc.StatusCode.UNAVAILABLE, refusal
                assert "Unwrap failed" in refusal.message and "reset" not in refusal.message, refusal
    return {}


def too_long(options):
    """Metadata above the limit of the gateway is refused with a status of gRPC, and the connection lives on."""
    with partner.channel(options, more=(("grpc.max_metadata_size", 1 << 20),)) as channel:
        records = records_pb2_grpc.RecordsStub(channel)
        given = (*STANDARD, ("x-long", "v" * 30_000))
        refusal = refused(lambda: records.Find(Find(id=1), metadata=given, timeout=SECONDS))
        check(refusal, "TOO_LARGE", grpc.StatusCode.RESOURCE_EXHAUSTED, "consumer")
        assert "this gateway takes 16384" in refusal.message, refusal
        assert records.Find(Find(id=1), metadata=STANDARD, timeout=SECONDS).id == 1
    return {}


CHECKS = [answers, refusals, link_down, overloaded, not_recorded, unanswered, declined, mismatch, cancels, deadline, reflection, health, compressed, violations, turned_down, too_long]

if __name__ == "__main__":
    given = partner.arguments("hop", "other")
    print(json.dumps({check.__name__: check for check in CHECKS}[given.check](given)))
