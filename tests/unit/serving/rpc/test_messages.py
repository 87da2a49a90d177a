from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from google.protobuf import descriptor_pb2

from graftwork_serving.rpc.messages import DESCRIPTOR_FILE, PROTO_FILE, message_class, methods


def test_the_generated_descriptors_are_those_of_the_proto_file(tmp_path: Path) -> None:
    """Whoever changes the one has to run the command in it."""
    made = tmp_path / "made.binpb"
    command = ["-m", "grpc_tools.protoc", f"-I{PROTO_FILE.parent}", f"--descriptor_set_out={made}", PROTO_FILE.name]
    subprocess.run([sys.executable, *command], check=True)
    files = [descriptor_pb2.FileDescriptorSet.FromString(file.read_bytes()) for file in (made, DESCRIPTOR_FILE)]
    assert files[0] == files[1]


def test_fields_have_the_protocols_numbers() -> None:
    """Bytes as another implementation writes them: field number and wire type by hand."""
    request = message_class("ModelInferRequest").FromString(
        b"\x0a\x01m\x12\x011\x1a\x02id"  # 1 model_name, 2 model_version, 3 id
        b"\x2a\x10\x0a\x05image\x12\x05UINT8\x1a\x00"  # 5 inputs: 1 name, 2 datatype, 3 shape
        b"\x32\x08\x0a\x06scores"  # 6 outputs: 1 name
        b"\x3a\x02\x01\x02"  # 7 raw_input_contents
    )
    assert (request.model_name, request.model_version, request.id) == ("m", "1", "id")
    assert (request.inputs[0].name, request.inputs[0].datatype) == ("image", "UINT8")
    assert [output.name for output in request.outputs] == ["scores"]
    assert list(request.raw_input_contents) == [b"\x01\x02"]
    answer = message_class("ModelInferResponse")(model_name="m", raw_output_contents=[b"\x05"])
    assert answer.SerializeToString() == b"\x0a\x01m\x32\x01\x05"
    index = message_class("RepositoryIndexResponse")(
        models=[{"name": "m", "version": "1", "state": "S", "reason": "r"}]
    )
    assert index.SerializeToString() == b"\x0a\x0c\x0a\x01m\x12\x011\x1a\x01S\x22\x01r"
    load = message_class("RepositoryModelLoadRequest").FromString(b"\x12\x01m\x1a\x05\x0a\x01c\x12\x00")
    assert (load.model_name, list(load.parameters)) == ("m", ["c"])


def test_the_service_has_the_protocols_methods() -> None:
    """All six of them, and the three of its model repository extension."""
    assert set(methods()) == {
        "ServerLive",
        "ServerReady",
        "ModelReady",
        "ServerMetadata",
        "ModelMetadata",
        "ModelInfer",
        "RepositoryIndex",
        "RepositoryModelLoad",
        "RepositoryModelUnload",
    }
