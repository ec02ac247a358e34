"""A plain gRPC server of the interoperability tests: grpcio, and nothing that knows of gateways.

Prints its port, then one JSON object a line for each call that ended before it was answered.
"""

import concurrent.futures
import json
import threading
import time

import grpc

from stubs import interop_pb2, interop_pb2_grpc

print_lock = threading.Lock()


def tell(**event):
    with print_lock:
        print(json.dumps(event), flush=True)


def payload(size):
    return interop_pb2.Payload(body=bytes(size))


INITIAL, TRAILING = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"


def echo_metadata(context):
    """Sends back what it is asked to; beside it what nobody has agreed on, and the names of all keys that came."""
    given = [(key, value) for key, value in context.invocation_metadata()]
    asked = {key for key, _ in given}
    if not asked & {INITIAL, TRAILING, "x-many", "x-many-bin"}:
        return
    initial = [(key, value) for key, value in given if key in (INITIAL, "x-many")]
    context.send_initial_metadata((*initial, ("x-unnamed", "canary"), ("drawbridge-hop", "forged")))
    trailing = [(key, value) for key, value in given if key in (TRAILING, "x-many-bin")]
    context.set_trailing_metadata((*trailing, ("x-seen", " ".join(sorted(asked))), ("x-unnamed-bin", b"canary")))


def fail_if_asked(request, context):
    if request.HasField("response_status"):
        context.set_code(next(code for code in grpc.StatusCode if code.value[0] == request.response_status.code))
        context.set_details(request.response_status.message)
        return True
    return False


class TestService(interop_pb2_grpc.TestServiceServicer):
    def EmptyCall(self, request, context):
        return interop_pb2.Empty()

    def UnaryCall(self, request, context):
        echo_metadata(context)
        if fail_if_asked(request, context):
            return interop_pb2.SimpleResponse()
        return interop_pb2.SimpleResponse(payload=payload(request.response_size))

    def StreamingOutputCall(self, request, context):
        echo_metadata(context)
        for parameters in request.response_parameters:
            yield interop_pb2.StreamingOutputCallResponse(payload=payload(parameters.size))
        fail_if_asked(request, context)

    def StreamingInputCall(self, requests, context):
        echo_metadata(context)
        total = 0
        try:
            for request in requests:
                total += len(request.payload.body)
        except grpc.RpcError:
            tell(event="broken", method="StreamingInputCall", bytes=total)
            raise
        tell(event="whole", method="StreamingInputCall", bytes=total)
        return interop_pb2.StreamingInputCallResponse(aggregated_payload_size=total)

    def FullDuplexCall(self, requests, context):
        echo_metadata(context)
        ended = threading.Event()
        context.add_callback(ended.set)
        context.add_callback(lambda: tell(event="ended", method="FullDuplexCall"))
        for request in requests:
            if fail_if_asked(request, context):
                return
            for parameters in request.response_parameters:
                if parameters.interval_us and ended.wait(parameters.interval_us / 1e6):
                    return
                yield interop_pb2.StreamingOutputCallResponse(payload=payload(parameters.size))


def main():
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(16), options=unlimited)
    interop_pb2_grpc.add_TestServiceServicer_to_server(TestService(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
