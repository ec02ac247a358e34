"""Asks the mock through the partner's own gateway, with the stubs that protoc makes."""

import pathlib

import grpc
from google.protobuf import json_format
@imports@


def read(name):
    return pathlib.Path("partner/tls", name).read_bytes()


# The authority of the member that asks, and the certificate of its system.
credentials = grpc.ssl_channel_credentials(
    root_certificates=read("authority.pem"),
    private_key=read("systems/@system@.key.pem"),
    certificate_chain=read("systems/@system@.pem"),
)
metadata = [("drawbridge-provider", "@provider@"), ("drawbridge-purpose", "@purpose@")]
request = json_format.Parse(pathlib.Path("@request@").read_text(), @message@())

with grpc.secure_channel("@clients@", credentials) as channel:
    ask = @stub@(channel).@method@
@ask@
