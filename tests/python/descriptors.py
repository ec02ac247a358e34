"""Writes the contracts of the tests, and Google's rich errors, as a descriptor set: what programs have that make no stubs."""

import pathlib
import sys

import google.rpc
import grpc_tools
from grpc_tools import protoc

ROOT = pathlib.Path(__file__).resolve().parents[2]
WELL_KNOWN = pathlib.Path(grpc_tools.__file__).parent / "_proto"
RICH_ERRORS = pathlib.Path(google.rpc.__path__[0]).parents[1]

folders = [f"-I{folder}" for folder in (ROOT / "tests/proto", ROOT / "proto", RICH_ERRORS, WELL_KNOWN)]
files = ["test/v1/records.proto", "interop/test.proto", "google/rpc/error_details.proto"]
sys.exit(protoc.main(["protoc", *folders, "--include_imports", f"--descriptor_set_out={sys.argv[1]}", *files]))
