"""A collector of telemetry, written with OpenTelemetry's Python packages: OTLP over gRPC or HTTP.

Prints its port, then one JSON object a line for each export: `spans` and `metrics` as they came, and what came with them.
"""

import argparse
import concurrent.futures
import http.server
import json
import pathlib
import ssl
import threading
import time

import grpc
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

print_lock = threading.Lock()


def tell(**event):
    with print_lock:
        print(json.dumps(event), flush=True)


def plain(value):
    """The value of an attribute, without OTLP's wrapping."""
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind in ("string_value", "int_value", "double_value", "bool_value") else None


def attributes(pairs):
    return {pair.key: plain(pair.value) for pair in pairs}


def spans(request, headers):
    for group in request.resource_spans:
        found = [
            {
                "scope": scoped.scope.name,
                "name": span.name,
                "trace": span.trace_id.hex(),
                "id": span.span_id.hex(),
                "parent": span.parent_span_id.hex(),
                "kind": span.kind,
                "start": span.start_time_unix_nano,
                "end": span.end_time_unix_nano,
                "status": span.status.code,
                "attributes": attributes(span.attributes),
            }
            for scoped in group.scope_spans
            for span in scoped.spans
        ]
        tell(event="spans", text=None, resource=attributes(group.resource.attributes), spans=found, headers=headers, whole=MessageToDict(request))


def metrics(request, headers):
    for group in request.resource_metrics:
        found = {metric.name: metric.WhichOneof("data") for scoped in group.scope_metrics for metric in scoped.metrics}
        tell(event="metrics", text=None, resource=attributes(group.resource.attributes), metrics=found, headers=headers, whole=MessageToDict(request))


class Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def Export(self, request, context):
        spans(request, dict(context.invocation_metadata()))
        return trace_service_pb2.ExportTraceServiceResponse()


class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def Export(self, request, context):
        metrics(request, dict(context.invocation_metadata()))
        return metrics_service_pb2.ExportMetricsServiceResponse()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {key.lower(): value for key, value in self.headers.items()}
        if self.path == "/v1/traces":
            spans(trace_service_pb2.ExportTraceServiceRequest.FromString(body), headers)
            answer = trace_service_pb2.ExportTraceServiceResponse()
        elif self.path == "/v1/metrics":
            metrics(metrics_service_pb2.ExportMetricsServiceRequest.FromString(body), headers)
            answer = metrics_service_pb2.ExportMetricsServiceResponse()
        else:
            self.send_error(404)
            return
        answer = answer.SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def serve_http(certificate, key):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def serve_grpc(certificate, key):
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
    if certificate:
        credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
        port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    while True:
        time.sleep(3600)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--http", action="store_true")
    parser.add_argument("--certificate", type=pathlib.Path)
    parser.add_argument("--key", type=pathlib.Path)
    given = parser.parse_args()
    (serve_http if given.http else serve_grpc)(given.certificate, given.key)


if __name__ == "__main__":
    main()
