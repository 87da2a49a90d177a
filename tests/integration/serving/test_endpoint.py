"""One running endpoint, asked in every way it answers."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import psutil
import pytest

from graftwork import __version__
from graftwork.bundle.directory import Bundle
from graftwork.endpoint_state import EndpointState
from graftwork.preprocess.image import ImageSpec, decode_image
from tests.integration.serving.conftest import GRAFT
from tests.support.bundles import SMALL_LABELS, SMALL_SIDE, keras_scores, picture_bytes
from tests.support.grpc_clients import ReflectedClient

if TYPE_CHECKING:
    import keras

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
PREDICT = "/v1/endpoints/small/predict"
INFER = "/v2/models/small/infer"
IMAGE = ImageSpec(height=SMALL_SIDE, width=SMALL_SIDE)


def tensor(pixels: np.ndarray, **changes: Any) -> dict[str, Any]:
    return {
        "name": "image",
        "shape": list(pixels.shape),
        "datatype": "UINT8",
        "data": pixels.ravel().tolist(),
    } | changes


def _graft(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*GRAFT, *arguments], capture_output=True, text=True, check=False)


def test_served_scores_are_the_keras_models(
    client: httpx.Client, small_keras_model: keras.Model, small_bundle: Bundle
) -> None:
    """For pictures the bundle has never seen, the endpoint says what the Keras model says."""
    pictures = [picture_bytes(seed=100 + seed, size=(60, 33), file_format="JPEG") for seed in range(6)]
    expected = keras_scores(small_keras_model, pictures, IMAGE)
    assert len({int(row.argmax()) for row in expected}) > 1, "the pictures must not all look the same to the model"
    for picture, scores in zip(pictures, expected, strict=True):
        answer = client.post(PREDICT, content=picture).raise_for_status().json()
        prediction = answer["predictions"][0]
        assert prediction["label"] == SMALL_LABELS[int(scores.argmax())]
        received = [prediction["scores"][label] for label in SMALL_LABELS]
        np.testing.assert_allclose(received, scores, atol=1e-4)


def test_many_clients_at_once_get_their_own_answers(
    client: httpx.Client, small_keras_model: keras.Model, small_bundle: Bundle
) -> None:
    """Requests that share a batch do not mix."""
    pictures = [picture_bytes(seed=200 + seed) for seed in range(48)]
    expected = keras_scores(small_keras_model, pictures, IMAGE)
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda picture: client.post(PREDICT, content=picture).json(), pictures))
    received = [[answer["predictions"][0]["scores"][label] for label in SMALL_LABELS] for answer in answers]
    np.testing.assert_allclose(received, expected, atol=1e-4)


def test_a_form_with_several_files_gets_one_answer_each(client: httpx.Client) -> None:
    """Answers come in the order of the files and carry their names."""
    pictures = [picture_bytes(seed=seed) for seed in (1, 2)]
    answer = client.post(PREDICT, files=[("file", ("a.png", pictures[0])), ("file", ("b.png", pictures[1]))]).json()
    singles = [client.post(PREDICT, content=picture).json()["predictions"][0] for picture in pictures]
    assert [prediction["file"] for prediction in answer["predictions"]] == ["a.png", "b.png"]
    for prediction, single in zip(answer["predictions"], singles, strict=True):
        assert prediction["score"] == pytest.approx(single["score"], abs=1e-5)


def test_top_limits_the_labels(client: httpx.Client) -> None:
    """?top=1 lists the likeliest label only."""
    answer = client.post(PREDICT, params={"top": 1}, content=picture_bytes(seed=1)).json()
    prediction = answer["predictions"][0]
    assert prediction["scores"] == {prediction["label"]: prediction["score"]}


def test_curl_needs_no_options(endpoint: EndpointState, tmp_path: Path) -> None:
    """The command that the documentation shows works as it stands."""
    (tmp_path / "cat.png").write_bytes(picture_bytes(seed=1))
    result = subprocess.run(
        ["curl", "-sS", "--data-binary", "@cat.png", endpoint.url + PREDICT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"label":' in result.stdout


def test_the_three_ways_to_send_a_picture_agree(client: httpx.Client, small_bundle: Bundle) -> None:
    """Pixels, base64 and a plain file give the same scores; id and selected outputs come back."""
    picture = picture_bytes(seed=5)
    pixels = decode_image(picture, IMAGE)[None]
    encoded = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(picture).decode()]}
    plain = client.post(PREDICT, content=picture).json()["predictions"][0]["scores"]
    for sent in (tensor(pixels), tensor(pixels, datatype="FP32", data=pixels.astype(float).tolist()), encoded):
        answer = client.post(INFER, json={"id": "42", "inputs": [sent]}).raise_for_status().json()
        assert answer["id"] == "42"
        scores, label = answer["outputs"]
        assert (scores["name"], scores["datatype"], scores["shape"]) == ("scores", "FP32", [1, 3])
        np.testing.assert_allclose(scores["data"], [plain[name] for name in SMALL_LABELS], atol=1e-6)
        assert label["data"] == [max(plain, key=lambda name: plain[name])]
    only = client.post(INFER, json={"inputs": [encoded], "outputs": [{"name": "label"}]}).json()
    assert [output["name"] for output in only["outputs"]] == ["label"]


def test_values_behind_the_json_are_those_within(client: httpx.Client, small_bundle: Bundle) -> None:
    """The binary extension, both ways."""
    pixels = np.stack([decode_image(picture_bytes(seed=seed), IMAGE) for seed in range(3)])
    within = client.post(INFER, json={"inputs": [tensor(pixels)]}).json()["outputs"]
    entry = {name: value for name, value in tensor(pixels).items() if name != "data"}
    entry["parameters"] = {"binary_data_size": pixels.nbytes}
    head = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    answer = client.post(INFER, content=head + pixels.tobytes(), headers=headers).raise_for_status()
    assert answer.headers["content-type"] == "application/octet-stream"
    end = int(answer.headers["inference-header-content-length"])
    scores, label = json.loads(answer.content[:end])["outputs"]
    size = scores["parameters"]["binary_data_size"]
    values = np.frombuffer(answer.content[end : end + size], "<f4")
    np.testing.assert_allclose(values, within[0]["data"], atol=1e-5)
    strings = answer.content[end + size :]
    assert len(strings) == label["parameters"]["binary_data_size"]
    assert strings == b"".join(len(text).to_bytes(4, "little") + text.encode() for text in within[1]["data"])


def test_tritons_client_works_unchanged(endpoint: EndpointState, client: httpx.Client, small_bundle: Bundle) -> None:
    """The usual client of the protocol: metadata, and tensors in its default form, which is binary."""
    triton = pytest.importorskip(
        "tritonclient.http", reason="tritonclient is not installed; run with: pip install 'tritonclient[http]'"
    )
    pixels = np.stack([decode_image(picture_bytes(seed=seed), IMAGE) for seed in range(3)])
    within = client.post(INFER, json={"inputs": [tensor(pixels)]}).json()["outputs"]
    asked = triton.InferenceServerClient(endpoint.url.removeprefix("http://"))
    assert asked.is_server_live()
    assert asked.is_server_ready()
    assert asked.is_model_ready("small")
    assert asked.get_model_metadata("small")["inputs"][0]["name"] == "image"
    sent = triton.InferInput("image", list(pixels.shape), "UINT8")
    sent.set_data_from_numpy(pixels)
    answer = asked.infer("small", [sent], request_id="7")
    assert answer.get_response()["id"] == "7"
    np.testing.assert_allclose(answer.as_numpy("scores").ravel(), within[0]["data"], atol=1e-5)
    assert [text.decode() for text in answer.as_numpy("label")] == within[1]["data"]


def test_tensorflow_serving_requests_get_the_plain_routes_scores(client: httpx.Client) -> None:
    """Rows, columns, pixels and examples all give what the plain route gives for the same picture."""
    picture = picture_bytes(seed=5)
    scores = client.post(PREDICT, content=picture).json()["predictions"][0]["scores"]
    expected, encoded = [scores[label] for label in SMALL_LABELS], {"b64": base64.b64encode(picture).decode()}
    pixels = decode_image(picture, IMAGE).tolist()
    for rows in ([encoded], [{"image": encoded}], [pixels]):
        (row,) = client.post("/v1/models/small:predict", json={"instances": rows}).json()["predictions"]
        np.testing.assert_allclose(row["scores"], expected, atol=1e-6)
        assert row["label"] == max(scores, key=lambda name: scores[name])
    asked = {"signature_name": "scores", "inputs": [encoded, encoded]}
    columns = client.post("/v1/models/small:predict", json=asked).json()["outputs"]
    np.testing.assert_allclose(columns, [expected, expected], atol=1e-6)
    (classes,) = client.post("/v1/models/small:classify", json={"examples": [{"image": encoded}]}).json()["results"]
    assert [label for label, _ in classes] == list(SMALL_LABELS)
    np.testing.assert_allclose([score for _, score in classes], expected, atol=1e-6)


def test_tensorflow_serving_metadata_is_what_its_own_messages_take(client: httpx.Client, small_bundle: Bundle) -> None:
    """Signatures parse as TensorFlow's SignatureDef; the version in the status names the model."""
    from google.protobuf import json_format
    from tensorflow.core.protobuf import meta_graph_pb2

    signatures = client.get("/v1/models/small/metadata").json()["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {"serving_default", "scores", "classification"}
    for signature in signatures.values():
        parsed = json_format.ParseDict(signature, meta_graph_pb2.SignatureDef())
        assert list(parsed.inputs) == ["image"]
    (status,) = client.get("/v1/models/small").json()["model_version_status"]
    assert (status["state"], int(status["version"])) == ("AVAILABLE", int(small_bundle.digest[:12], 16))
    assert client.get(f"/v1/models/small/versions/{status['version']}").status_code == 200


def test_grpc_says_what_http_says(endpoint: EndpointState, client: httpx.Client) -> None:
    """A client made by reflection alone: pixels typed and raw, files as they are, and the scores of the plain route."""
    picture = picture_bytes(seed=5)
    pixels = decode_image(picture, IMAGE)[None]
    scores = client.post(PREDICT, content=picture).json()["predictions"][0]["scores"]
    expected = [scores[label] for label in SMALL_LABELS]
    sent = {"name": "image", "datatype": "UINT8", "shape": list(pixels.shape)}
    asked = {"model_name": "small", "id": "7"}
    assert endpoint.grpc is not None
    with ReflectedClient(endpoint.grpc) as grpc_client:
        raw = grpc_client.call("ModelInfer", **asked, inputs=[sent], raw_input_contents=[pixels.tobytes()])
        np.testing.assert_allclose(np.frombuffer(raw.raw_output_contents[0], "<f4"), expected, atol=1e-6)
        typed = sent | {"contents": {"uint_contents": pixels.ravel().tolist()}}
        file = sent | {"datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [picture]}}
        for tensors in ([typed], [file]):
            answer = grpc_client.call("ModelInfer", **asked, inputs=tensors)
            assert answer.id == "7"
            np.testing.assert_allclose(answer.outputs[0].contents.fp32_contents, expected, atol=1e-6)
            assert answer.outputs[1].contents.bytes_contents[0].decode() == max(scores, key=lambda name: scores[name])


def test_a_triton_client_works_over_grpc(endpoint: EndpointState, client: httpx.Client) -> None:
    """The usual client of the protocol: metadata, and tensors."""
    triton = pytest.importorskip(
        "tritonclient.grpc", reason="tritonclient is not installed; run with: pip install 'tritonclient[grpc]'"
    )
    pixels = np.stack([decode_image(picture_bytes(seed=seed), IMAGE) for seed in range(3)])
    within = client.post(INFER, json={"inputs": [tensor(pixels)]}).json()["outputs"]
    asked = triton.InferenceServerClient(endpoint.grpc)
    assert asked.is_server_live()
    assert asked.is_server_ready()
    assert asked.is_model_ready("small")
    assert asked.get_model_metadata("small").inputs[0].name == "image"
    sent = triton.InferInput("image", list(pixels.shape), "UINT8")
    sent.set_data_from_numpy(pixels)
    answer = asked.infer("small", [sent], request_id="7")
    assert answer.get_response().id == "7"
    np.testing.assert_allclose(answer.as_numpy("scores").ravel(), within[0]["data"], atol=1e-5)
    assert [text.decode() for text in answer.as_numpy("label")] == within[1]["data"]
    asked.close()


def test_grpc_listens_on_its_address_only(endpoint: EndpointState) -> None:
    """The replica's gRPC port is on loopback."""
    assert endpoint.grpc is not None
    port = int(endpoint.grpc.rpartition(":")[2])
    listening = {
        connection.laddr.ip.removeprefix("::ffff:")  # how an IPv6 socket writes an IPv4 address
        for process in psutil.Process(endpoint.pid).children(recursive=True)
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    }
    assert listening == {"127.0.0.1"}


def test_a_batch_of_tensors_is_answered_row_by_row(client: httpx.Client, small_bundle: Bundle) -> None:
    """A tensor of n pictures gets n rows, each as if it had been sent alone."""
    pixels = np.stack([decode_image(picture_bytes(seed=seed), IMAGE) for seed in range(5)])
    batch = client.post(INFER, json={"inputs": [tensor(pixels)]}).json()["outputs"][0]
    alone = [client.post(INFER, json={"inputs": [tensor(row[None])]}).json()["outputs"][0]["data"] for row in pixels]
    assert batch["shape"] == [5, 3]
    np.testing.assert_allclose(np.reshape(batch["data"], (5, 3)), alone, atol=1e-5)


def test_metadata_describes_what_works(client: httpx.Client, small_bundle: Bundle) -> None:
    """Metadata routes answer with and without the version, and describe the real tensors."""
    assert client.get("/v2").json() == {
        "name": "graftwork",
        "version": __version__,
        "extensions": ["binary_tensor_data", "model_repository"],
    }
    model = client.get("/v2/models/small").json()
    version = small_bundle.digest[:12]
    assert model["versions"] == [version]
    assert model["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 32, 32, 3]}]
    assert client.get(f"/v2/models/small/versions/{version}").json() == model
    assert client.get(f"/v2/models/small/versions/{version}/ready").json()["ready"] is True
    for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/openapi.json"):
        assert client.get(path).status_code == 200, path
    assert client.get("/").json()["routes"]["predict"] == f"POST {PREDICT}"


PICTURE = picture_bytes(seed=1)
GOOD_TENSOR = tensor(np.zeros((1, 32, 32, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "part"),
    [
        ("POST", PREDICT, {"content": b"this is no picture"}, 400, "no picture"),
        ("POST", PREDICT, {"content": PICTURE[: len(PICTURE) // 2]}, 400, "damaged"),
        ("POST", PREDICT, {"content": b""}, 400, "empty"),
        ("POST", PREDICT, {"json": {"image": 1}}, 415, "application/json"),
        ("POST", PREDICT, {"content": PICTURE, "headers": {"content-type": "text/html"}}, 415, "text/html"),
        ("POST", PREDICT, {"content": PICTURE, "headers": {"content-encoding": "gzip"}}, 400, "gzip"),
        ("POST", PREDICT, {"content": PICTURE, "headers": {"content-encoding": "br"}}, 415, "gzip or deflate"),
        ("POST", PREDICT, {"content": bytes(200_001)}, 413, "200,000"),
        ("POST", PREDICT, {"content": picture_bytes(seed=1, size=(1001, 1000), file_format="JPEG")}, 413, "1,000,000"),
        ("POST", PREDICT, {"content": PICTURE, "params": {"top": "many"}}, 400, "top"),
        ("POST", PREDICT, {"content": PICTURE, "params": {"model": "smal"}}, 404, "Did you mean `small`"),
        ("POST", "/v1/endpoints/other/predict", {"content": PICTURE}, 404, "/v1/endpoints/small/predict"),
        ("GET", PREDICT, {}, 405, "POST"),
        ("DELETE", "/v2/models/small", {}, 405, "GET"),
        ("GET", "/nowhere", {}, 404, "GET /"),
        ("POST", "/v2/models/other/infer", {"json": {"inputs": [GOOD_TENSOR]}}, 404, "other"),
        ("POST", "/v2/models/small/versions/9/infer", {"json": {"inputs": [GOOD_TENSOR]}}, 404, "version"),
        ("GET", "/v2/models/other", {}, 404, "other"),
        ("POST", INFER, {"content": b"{", "headers": {"content-type": "application/json"}}, 400, "JSON"),
        ("POST", INFER, {"json": {}}, 400, "inputs"),
        ("POST", INFER, {"json": {"inputs": [GOOD_TENSOR | {"shape": [1, 16, 64, 3]}]}}, 400, "shape"),
        ("POST", INFER, {"json": {"inputs": [GOOD_TENSOR | {"datatype": "INT32"}]}}, 400, "datatype"),
        ("POST", INFER, {"json": {"inputs": [GOOD_TENSOR | {"data": [1, 2]}]}}, 400, "data"),
        ("POST", INFER, {"content": PICTURE, "headers": {"content-type": "image/png"}}, 415, "image/png"),
        ("GET", "/v1/models/other", {}, 404, "other"),
        ("GET", "/v1/models/small/versions/7", {}, 404, "version"),
        ("GET", "/v1/models/small:predict", {}, 405, "POST"),
        ("POST", "/v1/models/other:predict", {"json": {"instances": [1]}}, 404, "other"),
        ("POST", "/v1/models/small/labels/stable:predict", {"json": {"instances": [1]}}, 400, "label"),
        ("POST", "/v1/models/small:predict", {"content": b"{"}, 400, "JSON"),
        ("POST", "/v1/models/small:predict", {"json": {"instances": [{"b64": "aaaa"}]}}, 400, "no picture"),
        ("POST", "/v1/models/small:regress", {"json": {"examples": [{"image": 1}]}}, 400, ":predict"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(
    client: httpx.Client, method: str, path: str, options: dict[str, Any], status: int, part: str
) -> None:
    """Always 4xx, always JSON with a sentence, never a traceback; and the endpoint answers the next request."""
    response = client.request(method, path, **options)
    assert response.status_code == status
    message = response.json()["error"]
    assert part in message
    assert "Traceback" not in response.text
    assert client.post(PREDICT, content=PICTURE).status_code == 200


def test_an_oversized_body_is_refused_before_it_is_sent(endpoint: EndpointState) -> None:
    """The declared length is enough: the answer comes although the body never does."""
    host, port = endpoint.url.removeprefix("http://").split(":")
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000000000\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")


def test_an_oversized_body_of_unknown_length_is_refused(client: httpx.Client) -> None:
    """A chunked body is counted while it arrives."""
    response = client.post(PREDICT, content=(bytes(50_000) for _ in range(5)))
    assert response.status_code == 413


def test_metrics_count_what_was_asked(client: httpx.Client, small_bundle: Bundle) -> None:
    """Requests, examples and status codes appear as Prometheus series, and what answers."""

    def value(series: str) -> float:
        for line in client.get("/metrics").text.splitlines():
            if line.startswith(series + " "):
                return float(line.rpartition(" ")[2])
        return 0.0

    labels = 'code="{}",endpoint="small",model="small",protocol="plain"'
    good, bad = (f"graftwork_requests_total{{{labels.format(code)}}}" for code in (200, 400))
    before = value(good), value(bad)
    client.post(PREDICT, content=PICTURE)
    client.post(PREDICT, content=b"no picture")
    assert (value(good), value(bad)) == (before[0] + 1, before[1] + 1)
    assert value('graftwork_request_duration_seconds_count{endpoint="small",model="small",protocol="plain"}') > 0
    assert value('graftwork_batch_examples_count{endpoint="small",model="small"}') > 0
    about = f'model="small",precision="float32",version="{small_bundle.digest[:12]}"'
    assert (
        value(f'graftwork_model_info{{digest="{small_bundle.digest}",endpoint="small",engine="openvino",{about}}}') == 1
    )


def test_no_file_grows_with_each_request(endpoint: EndpointState, client: httpx.Client) -> None:
    """Of Ray Serve's logs: it writes them in blocks of a thousand requests."""

    def written() -> dict[str, int]:
        sessions = Path(tempfile.gettempdir()).glob(f"graft-{endpoint.pid}-*/session_*")
        files = [file for session in sessions for file in session.resolve().glob("logs/**/*") if file.is_file()]
        return {file.name: file.stat().st_size for file in files}

    before = written()
    assert any(name.startswith("replica_") for name in before)
    for _ in range(1200):
        client.get("/v2/health/live").raise_for_status()
    grown = {name: size - before.get(name, 0) for name, size in written().items()}
    assert {name: size for name, size in grown.items() if size > 12_000} == {}


def test_serving_imports_no_training_framework(endpoint: EndpointState) -> None:
    """No process of the endpoint has TensorFlow's libraries in its memory."""
    processes = [psutil.Process(endpoint.pid), *psutil.Process(endpoint.pid).children(recursive=True)]
    mapped = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # Ray's helpers come and go
            mapped |= {Path(region.path).name for region in process.memory_maps()}
    assert any("openvino" in name for name in mapped), "the replica must be among the processes looked at"
    assert not [name for name in mapped if name.startswith(("libtensorflow", "_pywrap_tensorflow"))]


def test_loading_and_predicting_imports_little(small_bundle: Bundle) -> None:
    """What a replica does, from its imports to a prediction, brings in neither training nor registry nor spec models.

    A replica that starts, wakes or stands in for a lost one waits for its imports more than for anything else.
    """
    code = f"""
import sys
import numpy as np
from graftwork_serving.deployment import EndpointReplica
from graftwork_serving.endpoint_config import ModelConfig, ReplicaConfig
from graftwork_serving.model_loader import ModelLoader
where = {str(small_bundle.path)!r}
model = ModelConfig(name="small", version="1", path=where, digest="0" * 64, reference="small/1", source=where)
config = ReplicaConfig(endpoint="e", models=[model], max_batch_size=4, max_request_bytes=9999,
                       max_image_pixels=9999, max_queued_requests=9)
(arm,) = ModelLoader(threads=1).arms([model], config)
scores = arm.model.predict(np.zeros((3, 32, 32, 3), np.uint8), owners=[arm.model] * 3, alone=False)
assert [len(row) for row in scores] == [3, 3, 3]
heavy = {{"tensorflow", "keras", "graftwork_jobs", "mlflow", "pandas", "pyarrow", "sqlalchemy", "graftwork.spec.base"}}
found = {{*heavy, "openvino"}} & set(sys.modules)
assert found == {{"openvino"}}, found
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_only_the_endpoints_port_takes_http_from_outside_of_rays_token(endpoint: EndpointState) -> None:
    """HAProxy listens nowhere but on the endpoint's address."""
    haproxies = [
        process for process in psutil.Process(endpoint.pid).children(recursive=True) if process.name() == "haproxy"
    ]
    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for process in haproxies
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {("127.0.0.1", int(endpoint.url.rpartition(":")[2]))}


def test_graft_predict_prints_labels(endpoint: EndpointState, tmp_path: Path) -> None:
    """The command answers for several files, by URL."""
    files = [tmp_path / name for name in ("a.png", "b.png")]
    for seed, file in enumerate(files):
        file.write_bytes(picture_bytes(seed=seed))
    result = _graft("predict", endpoint.url, *map(str, files))
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["INPUT", "LABEL", "SCORE"]
    assert [line.split()[0] for line in lines[1:] if "/" in line] == list(map(str, files))


def test_graft_predict_names_the_file_that_is_wrong(endpoint: EndpointState, tmp_path: Path) -> None:
    """A file that is no picture is named, with the endpoint's reason."""
    (tmp_path / "text.png").write_text("hello")
    result = _graft("predict", endpoint.url, str(tmp_path / "text.png"))
    assert result.returncode == 1
    assert "text.png: The bytes are no picture" in result.stderr
