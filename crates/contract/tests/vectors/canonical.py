"""The canonical text of a contract, written a second time, from DIGEST.md alone, with Google's own protobuf library.

    pip install protobuf
    python canonical.py ../golden/protoc.binpb .     # compares with the vectors in this folder; exit 1 when one differs
"""

import hashlib
import pathlib
import struct
import sys

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor as F

SCALARS = {
    F.TYPE_DOUBLE: "double", F.TYPE_FLOAT: "float", F.TYPE_INT64: "int64", F.TYPE_UINT64: "uint64", F.TYPE_INT32: "int32",
    F.TYPE_FIXED64: "fixed64", F.TYPE_FIXED32: "fixed32", F.TYPE_BOOL: "bool", F.TYPE_STRING: "string", F.TYPE_BYTES: "bytes",
    F.TYPE_UINT32: "uint32", F.TYPE_SFIXED32: "sfixed32", F.TYPE_SFIXED64: "sfixed64", F.TYPE_SINT32: "sint32",
    F.TYPE_SINT64: "sint64",
}
SHAPES = {(False, False): "unary", (False, True): "server-stream", (True, False): "client-stream", (True, True): "bidirectional"}


def quoted(data):
    plain = lambda byte: 0x20 <= byte < 0x7F and byte not in (0x22, 0x5C)
    return '"' + "".join(chr(byte) if plain(byte) else f"\\x{byte:02x}" for byte in data) + '"'


def scalar(kind, value):
    if kind == F.TYPE_BOOL:
        return "true" if value else "false"
    if kind == F.TYPE_FLOAT:
        return "0x" + struct.pack(">f", value).hex()
    if kind == F.TYPE_DOUBLE:
        return "0x" + struct.pack(">d", value).hex()
    if kind == F.TYPE_STRING:
        return quoted(value.encode())
    if kind == F.TYPE_BYTES:
        return quoted(value)
    return str(int(value))


def is_map(field):
    return bool(field.is_repeated and field.message_type and field.message_type.GetOptions().map_entry)


def type_name(field):
    if is_map(field):
        entry = field.message_type.fields_by_name
        return f"{type_name(entry['key'])},{type_name(entry['value'])}"
    if field.type == F.TYPE_GROUP:
        return "group:" + field.message_type.full_name
    if field.message_type:
        return "message:" + field.message_type.full_name
    if field.enum_type:
        return "enum:" + field.enum_type.full_name
    return SCALARS[field.type]


def label(field):
    if is_map(field):
        return "map"
    if field.is_repeated:
        return "packed" if field.is_packed else "repeated"
    if field.is_required:
        return "required"
    return "optional" if field.has_presence else "implicit"


def json_name(name):
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


class Text:
    def __init__(self, pool):
        self.pool, self.lines = pool, ["drawbridge.contract/v1"]

    def value(self, path, field, value):
        if field.message_type:
            self.lines.append(f"option {path}={{}}")
            self.fields(path + ".", value, 0)
        else:
            self.lines.append(f"option {path}={scalar(field.type, value)}")

    def fields(self, prefix, message, lowest):
        for field, value in sorted(message.ListFields(), key=lambda item: item[0].number):
            if field.number < lowest or field.GetOptions().retention == descriptor_pb2.FieldOptions.RETENTION_SOURCE:
                continue
            path = f"{prefix}{field.number}"
            if is_map(field):
                kinds = field.message_type.fields_by_name
                keyed = {scalar(kinds["key"].type, key): item for key, item in value.items()}
                for key in sorted(keyed):
                    self.value(f"{path}{{{key}}}", kinds["value"], keyed[key])
            elif field.is_repeated:
                for index, item in enumerate(value):
                    self.value(f"{path}[{index}]", field, item)
            else:
                self.value(path, field, value)

    def options(self, descriptor):
        # Read again with a class from the set's own pool, which knows the extensions.
        raw = descriptor.GetOptions()
        known = self.pool.FindMessageTypeByName(raw.DESCRIPTOR.full_name)
        message = message_factory.GetMessageClass(known).FromString(raw.SerializeToString())
        self.fields("", message, 1000)

    def service(self, service):
        self.lines.append(f"service {service.full_name}")
        self.options(service)
        waiting = []
        for method in sorted(service.methods, key=lambda method: method.name):
            shape = SHAPES[method.client_streaming, method.server_streaming]
            self.lines.append(f"method {method.name} {shape} {method.input_type.full_name} {method.output_type.full_name}")
            if method.GetOptions().idempotency_level:
                self.lines.append(f"option 34={method.GetOptions().idempotency_level}")
            self.options(method)
            waiting += [method.input_type, method.output_type]
        found = {}
        while waiting:
            kind = waiting.pop()
            if kind is None or kind.full_name.startswith("google.protobuf.") or kind.full_name in found:
                continue
            found[kind.full_name] = kind
            for field in getattr(kind, "fields", []):
                if is_map(field):
                    field = field.message_type.fields_by_name["value"]
                waiting += [field.message_type, field.enum_type]
        for name in sorted(found, key=str.encode):
            self.message(found[name]) if hasattr(found[name], "fields") else self.enum(found[name])
        return "\n".join(self.lines) + "\n"

    def message(self, message):
        self.lines.append(f"message {message.full_name}")
        self.options(message)
        # Made up by compilers for `optional` in proto3: one member, the oneof's name with an underscore before it.
        proto = descriptor_pb2.DescriptorProto()
        message.CopyToProto(proto)
        made_up = {field.oneof_index for field in proto.field if field.proto3_optional}
        real = [oneof for oneof in message.oneofs if oneof.index not in made_up]
        for oneof in sorted(real, key=lambda oneof: oneof.name):
            self.lines.append(f"oneof {oneof.name}")
            self.options(oneof)
        for field in sorted(message.fields, key=lambda field: field.number):
            line = f"field {field.number} {field.name} {label(field)} {type_name(field)}"
            if field.containing_oneof in real:
                line += f" oneof={field.containing_oneof.name}"
            if field.json_name != json_name(field.name):
                line += f" json={quoted(field.json_name.encode())}"
            if field.has_default_value:
                line += f" default={scalar(field.type, field.default_value)}"
            self.lines.append(line)
            self.options(field)

    def enum(self, enum):
        self.lines.append(f"enum {enum.full_name} {'closed' if enum.is_closed else 'open'}")
        self.options(enum)
        for value in sorted(enum.values, key=lambda value: (value.number, value.name)):
            self.lines.append(f"value {value.number} {value.name}")
            self.options(value)


def main(path, folder):
    pool = descriptor_pool.DescriptorPool()
    files = descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(path).read_bytes()).file
    for file in files:
        pool.Add(file)
    digests, wrong = [], False
    for file in files:
        for service in pool.FindFileByName(file.name).services_by_name.values():
            text = Text(pool).service(service)
            digests.append((service.full_name, hashlib.sha256(text.encode()).hexdigest()))
            same = text == pathlib.Path(folder, f"{service.full_name}.txt").read_text()
            print("same" if same else "DIFFERS", service.full_name)
            wrong |= not same
    listed = "".join(f"sha256:{digest} {name}\n" for name, digest in sorted(digests))
    wrong |= listed != pathlib.Path(folder, "digests.txt").read_text()
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
