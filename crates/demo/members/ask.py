"""Asks the trust who a patient is, through the council's own gateway, with the stubs that protoc makes."""

import pathlib
import sys

import grpc

from health.v1 import patients_pb2, patients_pb2_grpc

# TLS: the council's own authority, and the certificate of its social care system.
read = lambda name: pathlib.Path("council", name).read_bytes()
credentials = grpc.ssl_channel_credentials(
    root_certificates=read("tls/authority.pem"),
    private_key=read("tls/systems/social-care.key.pem"),
    certificate_chain=read("tls/systems/social-care.pem"),
)

with grpc.secure_channel(sys.argv[1], credentials) as channel:
    patients = patients_pb2_grpc.PatientsStub(channel)
    answer, call = patients.Find.with_call(
        patients_pb2.FindPatientRequest(nhs_number="9990000018"),
        metadata=[
            ("drawbridge-provider", "trust.example"),
            ("drawbridge-purpose", "safeguarding"),
            ("drawbridge-actor", "sw-1042;role=social-worker"),
            ("drawbridge-case", "CASE-2041"),
        ],
        timeout=3,
    )
    print(answer)
    print("exchange", dict(call.initial_metadata())["drawbridge-exchange-id"])
