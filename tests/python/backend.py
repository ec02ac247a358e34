"""A legacy system that speaks gRPC itself: `test.v1.Echo`, as any team would write it with grpcio.

Prints its port, then one JSON object a line for what happened to each call.
"""

import argparse
import concurrent.futures
import json
import pathlib
import threading
import time

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from stubs import records_pb2, records_pb2_grpc

# A text of this and hexadecimal digits is answered with those bytes.
RAW = "raw:"

# A text of this and a number fails with so many bytes of details, which are no `google.rpc.Status`; a stream after its rows.
DETAILS = "details:"

print_lock = threading.Lock()


def tell(**event):
    with print_lock:
        print(json.dumps(event), flush=True)


class Echo(records_pb2_grpc.EchoServicer):
    def _begin(self, request, context):
        seen = [f"{key}={value}" for key, value in context.invocation_metadata() if isinstance(value, str)]
        # What a back end must not be able to say in the gateways' name, and what it may.
        context.send_initial_metadata((("drawbridge-exchange-id", "forged"), ("drawbridge-withheld", "forged"), ("set-cookie", "a=b")))
        application = [pair for pair in context.invocation_metadata() if pair[0] == "x-application"]
        context.set_trailing_metadata((("drawbridge-hop", "forged"), ("drawbridge-claims-bin", b"forged"), *application))
        ended = threading.Event()
        context.add_callback(ended.set)
        context.add_callback(lambda: tell(event="ended", text=request.text))
        left = context.time_remaining()
        # Without a deadline grpcio says a very long time, or nothing.
        tell(event="asked", text=request.text, left=left if left is not None and left < 1e6 else None)
        if request.delay_ms and ended.wait(request.delay_ms / 1000):
            tell(event="stopped", text=request.text)
            context.abort(grpc.StatusCode.CANCELLED, "nobody waits")
        if request.status and not request.text.startswith(DETAILS):
            violation = error_details_pb2.BadRequest(field_violations=[{"field": "text", "description": request.text}])
            packed = any_pb2.Any()
            packed.Pack(violation)
            context.abort_with_status(rpc_status.to_status(status_pb2.Status(code=request.status, message=f"as told: {request.text} – 100 %", details=[packed])))
        return seen, ended

    def _decline(self, request, context):
        if request.text.startswith(DETAILS):
            size = int(request.text.removeprefix(DETAILS))
            details = bytes(255 - at % 256 for at in range(size))
            context.set_trailing_metadata((("grpc-status-details-bin", details),))
            context.abort(next(code for code in grpc.StatusCode if code.value[0] == request.status), request.text)

    def Say(self, request, context):
        seen, _ = self._begin(request, context)
        self._decline(request, context)
        if request.text.startswith(RAW):
            return bytes.fromhex(request.text.removeprefix(RAW))
        text = request.text * request.times if request.times else request.text
        return records_pb2.SayResponse(text=text, metadata=seen)

    def Repeat(self, request, context):
        seen, _ = self._begin(request, context)
        for _ in range(request.times):
            yield records_pb2.SayResponse(text=request.text, metadata=seen)
        self._decline(request, context)
        if request.text.startswith(RAW):
            yield bytes.fromhex(request.text.removeprefix(RAW))


def serialize(answer):
    """Lets bytes go out as they are, whatever the contract says of them."""
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


def register(server):
    """As the generated code does, but for what is returned as bytes."""
    read = records_pb2.SayRequest.FromString
    handlers = {
        "Say": grpc.unary_unary_rpc_method_handler(Echo().Say, read, serialize),
        "Repeat": grpc.unary_stream_rpc_method_handler(Echo().Repeat, read, serialize),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.v1.Echo", handlers),))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--certificate", type=pathlib.Path)
    parser.add_argument("--key", type=pathlib.Path)
    parser.add_argument("--at-once", type=int, help="calls at once on a connection")
    parser.add_argument("--age-ms", type=int, help="age at which a connection retires")
    given = parser.parse_args()
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    if given.at_once:
        options.append(("grpc.max_concurrent_streams", given.at_once))
    if given.age_ms:
        options.append(("grpc.max_connection_age_ms", given.age_ms))
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(16), options=options)
    register(server)
    if given.certificate:
        credentials = grpc.ssl_server_credentials([(given.key.read_bytes(), given.certificate.read_bytes())])
        port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
