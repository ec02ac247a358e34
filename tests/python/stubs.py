"""Stubs for the contracts of the tests, as any partner makes them: `grpcio-tools` over the .proto files, and nothing of the gateway's.

Importing this module generates them into a temporary folder and puts that on the path.
"""

import atexit
import os
import pathlib
import shutil
import sys
import tempfile

import grpc_tools
from grpc_tools import protoc

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _generate():
    out = pathlib.Path(tempfile.mkdtemp(prefix="drawbridge-stubs-"))
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    contracts = [(ROOT / "tests/proto", name) for name in ("test/v1/records.proto", "interop/test.proto")]
    contracts += [(ROOT / "proto", str(path.relative_to(ROOT / "proto"))) for path in sorted((ROOT / "proto/drawbridge").rglob("*.proto"))]
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    folders = [f"-I{folder}" for folder in (ROOT / "tests/proto", ROOT / "proto", well_known)]
    done = protoc.main(["protoc", *folders, f"--python_out={out}", f"--grpc_python_out={out}", *(name for _, name in contracts)])
    if done != 0:
        raise SystemExit("protoc refuses the contracts")
    # Python has a package `test` of its own; a package with an `__init__` that stands earlier wins.
    for folder, _, _ in os.walk(out):
        (pathlib.Path(folder) / "__init__.py").touch()
    sys.path.insert(0, str(out))
    for name in ("test", "interop", "drawbridge"):
        sys.modules.pop(name, None)


_generate()

from drawbridge.exchange.v1 import receipts_pb2, receipts_pb2_grpc  # noqa: E402, F401
from interop import test_pb2 as interop_pb2, test_pb2_grpc as interop_pb2_grpc  # noqa: E402, F401
from test.v1 import records_pb2, records_pb2_grpc  # noqa: E402, F401
