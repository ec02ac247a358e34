"""What a partner system in Python has: a channel with a client certificate, metadata, and the standard helpers for rich errors."""

import argparse
import pathlib

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

TRUST = "trust.example"
STANDARD = (("drawbridge-provider", TRUST), ("drawbridge-purpose", "safeguarding"), ("drawbridge-case", "case-1"))
SECONDS = 20
UNLIMITED = (("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


def arguments(*names):
    """Reads the command line: the gateway's clients' port, its member's folder, then what the script has of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("check")
    parser.add_argument("--clients", required=True)
    parser.add_argument("--folder", required=True, type=pathlib.Path)
    for name in names:
        parser.add_argument(f"--{name}")
    return parser.parse_args()


def channel(options, system="revenues", more=()):
    """Opens a channel as one of the member's systems."""
    systems = options.folder / "systems"
    credentials = grpc.ssl_channel_credentials(
        (options.folder / "offline/authority.pem").read_bytes(),
        (systems / f"{system}.key.pem").read_bytes(),
        (systems / f"{system}.pem").read_bytes(),
    )
    return grpc.secure_channel(options.clients, credentials, options=(*UNLIMITED, *more))


def metadata(**changes):
    """Returns the standard metadata with keys changed, or left out where the value is None."""
    keys = dict(STANDARD)
    for name, value in changes.items():
        keys[f"drawbridge-{name.replace('_', '-')}"] = value
    return tuple((key, value) for key, value in keys.items() if value is not None)


class Refusal:
    """A failed call, read with nothing but grpcio's own helpers."""

    def __init__(self, error):
        self.code = error.code()
        self.message = error.details()
        self.initial = dict(error.initial_metadata() or ())
        self.trailing = dict(error.trailing_metadata() or ())
        self.reason = self.domain = self.hop = self.exchange = self.retry = None
        status = rpc_status.from_call(error)
        for detail in status.details if status else ():
            for kind in (error_details_pb2.ErrorInfo, error_details_pb2.RequestInfo, error_details_pb2.RetryInfo):
                if not detail.Is(kind.DESCRIPTOR):
                    continue
                value = kind()
                detail.Unpack(value)
                if kind is error_details_pb2.ErrorInfo:
                    self.reason, self.domain, self.hop = value.reason, value.domain, value.metadata["hop"]
                elif kind is error_details_pb2.RequestInfo:
                    self.exchange = value.request_id
                else:
                    self.retry = value.retry_delay.ToMilliseconds()

    def __repr__(self):
        return f"{self.code} {self.reason} at {self.hop}: {self.message}"


def code_of(call):
    """Runs a call that has to fail, and returns its code alone.

    For deadlines: where the client's clock wins at the last moment grpcio mixes its own message with the gateway's details,
    and its helper then refuses to read them.
    """
    try:
        answer = call()
        if hasattr(answer, "__next__"):
            for _ in answer:
                pass
    except grpc.RpcError as error:
        return error.code()
    raise AssertionError(f"the call was answered: {answer}")


def refused(call):
    """Runs a call that has to fail, and returns how."""
    try:
        answer = call()
        if hasattr(answer, "__next__"):
            for _ in answer:
                pass
    except grpc.RpcError as error:
        return Refusal(error)
    raise AssertionError(f"the call was answered: {answer}")
