"""The page's server: what it gives to whoever knows its address, what it refuses, and that nobody holds it up."""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
from http.client import HTTPConnection
from urllib.parse import urlsplit

import numpy as np
import pytest
from pages import until

from xpnet import SGD, Trainer, TwoLayerNet
from xpnet.drawing import server as serving

KIND = {"Content-Type": "application/octet-stream"}
DRAWING = bytes(300) + b"\xff" * 40 + bytes(444)


def samples():
    pixels = np.arange(30 * 784).astype(np.uint8).reshape(30, 784)
    return pixels, np.repeat([3, 7, 3], 10).astype(np.uint8)


@pytest.fixture(scope="module")
def server(serve):
    with serve(lambda _: TwoLayerNet(784, 3, 10, seed=0, backend="numpy"), samples) as running:
        until(lambda: running.preparation.answers)
        yield running


@pytest.fixture
def ask(server):
    """``ask(path, body, headers=, method=)``: status, headers and content of an answer."""
    return lambda *args, **options: asked(server, *args, **options)


def asked(server, path, body=None, headers=KIND, method=None):
    connection = HTTPConnection(serving.HOST, server.port, timeout=30)
    path = urlsplit(server.address).path + path if not path.startswith("/") else path
    connection.request(method or ("GET" if body is None else "POST"), path, body, headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    if response.headers["Content-Type"] == "application/json":
        content = json.loads(content)
    return response.status, response.headers, content


def raw(server, request):
    """What comes back for bytes, as they are."""
    with socket.create_connection((serving.HOST, server.port), timeout=30) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_the_page_and_its_files_are_there(ask):
    status, headers, page = ask("")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    linked = re.findall(r'(?:href|src)="([^"]+)"', page.decode())
    assert sorted(linked) == ["icon.svg", "main.js", "page.css"]
    for name in (*linked, "paper.js", "pictures.js", "words.js"):
        status, headers, content = ask(name)
        assert status == 200
        assert content
        assert (b"http:" in content) == (name == "icon.svg"), "the page asks no other machine"
        assert headers["Content-Type"].split(";")[0] in ("text/css", "text/javascript", "image/svg+xml")


def test_every_answer_forbids_what_the_page_does_not_need(ask):
    for path, body in (("", None), ("state", None), ("answer", DRAWING), ("nothing", None), ("/", None)):
        _, headers, _ = ask(path, body)
        policy = dict(each.strip().split(" ", 1) for each in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["connect-src"] == "'self'"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Server"] == "xpnet"
        assert "Access-Control-Allow-Origin" not in headers


def test_a_drawing_is_answered(ask, server):
    status, _, told = ask("answer?layer=Affine1%2C%20Relu1&reasons=4", DRAWING)
    assert status == 200
    expected = server.preparation.answers.answer(DRAWING, "Affine1, Relu1", 4)
    assert told == json.loads(json.dumps(expected))
    assert told["reasons"]["class"] == 4


def test_the_state_says_what_can_be_shown(ask):
    status, _, told = ask("state")
    assert status == 200
    assert told["phase"] == "ready"
    assert told["network"] == "TwoLayerNet of a test"
    assert told["layers"] == [{"name": "Affine1, Relu1", "shape": [3], "of": 3}]


def test_samples_come_in_a_circle(ask):
    numbers, after = [], -1
    for _ in range(21):
        status, _, told = ask(f"sample?label=3&after={after}")
        assert (status, told["label"]) == (200, 3)
        after = told["number"]
        numbers.append(after)
    assert numbers == [*range(10), *range(20, 30), 0]
    assert base64.b64decode(told["pixels"]) == samples()[0][0].tobytes()


@pytest.mark.parametrize("path", ["/", "/favicon.ico", "/x/state", "/x/answer", "//", "/%00", "/../x/", "/%C3%A9/"])
def test_nothing_is_told_without_the_token(path, ask):
    status, _, told = ask(path)
    assert status == 403
    assert "the whole address" in told["error"]


def test_a_token_that_is_nearly_right_is_wrong(ask, server):
    for token in (server.token[:-1], server.token + "x", server.token.swapcase(), ""):
        assert ask(f"/{token}/state")[0] == 403
    assert len(server.token) >= 32


def test_bytes_that_are_no_ascii_are_no_token(server):
    assert b" 403 " in raw(server, b"GET /\xe9\xff/state HTTP/1.0\r\nHost: localhost\r\n\r\n").split(b"\r\n")[0]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Host": "localhost:{port}", "Origin": "http://localhost:{port}"}, 200),
        ({"Host": "localhost:9999", "Origin": "http://localhost:9999"}, 200),  # the end of a tunnel
        ({"Host": "localhost"}, 200),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "https://127.0.0.1:{port}"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 403),  # a name that was made to lead here
        ({"Host": "evil.example:{port}"}, 403),
        ({"Host": "127.0.0.1.evil.example:{port}", "Origin": "http://127.0.0.1.evil.example:{port}"}, 403),
        ({"Host": ""}, 403),
    ],
)
@pytest.mark.parametrize(("path", "body"), [("answer", DRAWING), ("state", None)])
def test_other_pages_and_other_names_are_refused(headers, status, path, body, ask, server):
    found = ask(path, body, {name: value.format(port=server.port) for name, value in headers.items()} | KIND)
    assert found[0] == status
    assert status == 200 or found[2].keys() == {"error"}


@pytest.mark.parametrize(
    ("path", "body", "headers", "method", "status", "why"),
    [
        ("answer", b"\1" * 78_401, KIND, None, 413, "78401 bytes are too many; at most 78400"),
        ("answer", b"\1" * 900_000, KIND, None, 413, "900000 bytes"),
        ("answer", b"\1" * 783, KIND, None, 400, "783 bytes; expected one for each pixel"),
        ("answer", b"", KIND, None, 400, "0 bytes"),
        ("answer", bytes(784), KIND, None, 400, "nothing is drawn"),
        ("answer", DRAWING, {}, None, 415, "application/octet-stream"),
        ("answer", DRAWING, {"Content-Type": "text/plain"}, None, 415, "application/octet-stream"),
        ("answer", DRAWING, KIND | {"Content-Length": "-1"}, None, 411, "Content-Length"),
        ("answer", DRAWING, KIND | {"Content-Length": "many"}, None, 411, "Content-Length"),
        ("answer", DRAWING, KIND | {"Content-Length": "9" * 30}, None, 411, "Content-Length"),
        ("answer", None, KIND, "POST", 400, "0 bytes"),
        ("answer", None, KIND, None, 405, "GET is no POST"),
        ("state", DRAWING, KIND, None, 405, "POST is no GET"),
        ("state", None, KIND, "DELETE", 501, "Unsupported method"),
        ("answer?layer=Relu7", DRAWING, KIND, None, 400, "there is nothing called 'Relu7'"),
        ("answer?reasons=10", DRAWING, KIND, None, 400, "class 10"),
        ("answer?reasons=one", DRAWING, KIND, None, 400, "reasons is 'one', expected a whole number"),
        ("answer?reasons=" + "9" * 5000, DRAWING, KIND, None, 400, "reasons is '999"),
        ("answer?" + "a=1&" * 100, DRAWING, KIND, None, 400, "the path of the request is none"),
        ("sample", None, KIND, None, 400, "label is ''"),
        ("sample?label=5", None, KIND, None, 404, "there is no digit 5 among the samples"),
        ("../server.py", None, KIND, None, 404, "nothing of this name"),
        ("page.html", None, KIND, None, 404, "nothing of this name"),
        ("state/" + "x" * 70_000, None, KIND, None, 414, "URI"),
        ("state", None, {f"X-{i}": "1" for i in range(200)}, None, 431, "headers"),
    ],
)
def test_what_is_wrong_is_told_in_json(path, body, headers, method, status, why, ask):
    found = ask(path, body, headers, method)
    assert found[0] == status
    assert why in found[2]["error"]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"400"),
        (b"GET\r\n\r\n", b"400"),
        (b"GET / HTTP/9.9\r\n\r\n", b"505"),
        (b"GET //[ HTTP/1.0\r\nHost: localhost\r\n\r\n", b"403"),
        (b"GET http://[/ HTTP/1.0\r\nHost: localhost\r\n\r\n", b"400"),
        (b"GET / HTTP/1.0\r\nno colon\r\n\r\n", b"403"),
    ],
)
def test_what_is_no_request_is_refused(request_, status, server):
    answer = raw(server, request_)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == status
    assert json.loads(body).keys() == {"error"}


def test_a_body_that_is_shorter_than_announced_is_refused(server):
    path = urlsplit(server.address).path.encode()
    head = b"POST " + path + b"answer HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
    answer = raw(server, head + b"Content-Length: 784\r\n\r\nfew")
    assert b" 400 " in answer
    assert b"784 bytes were announced, and 3 came" in answer


def test_many_requests_at_once_are_answered(ask):
    found = []
    threads = [threading.Thread(target=lambda: found.append(ask("answer", DRAWING)[::2])) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 32
    assert all(each == found[0] for each in found)
    assert found[0][0] == 200


def test_slow_clients_are_cut_and_hold_nobody_up(serve, monkeypatch):
    monkeypatch.setattr(serving, "SECONDS", 1.0)
    with serve(lambda _: TwoLayerNet(784, 3, 10, backend="numpy"), samples) as server:
        until(lambda: server.preparation.answers)
        before = threading.active_count()
        slow = [socket.create_connection((serving.HOST, server.port), timeout=30) for _ in range(20)]
        for connection in slow:
            connection.sendall(b"GET / HTTP/1.0\r\nX: ")
        assert asked(server, "answer", DRAWING)[0] == 200
        ended = []
        while len(ended) < len(slow):  # each sends a byte now and then, and is cut all the same
            for connection in [each for each in slow if each not in ended]:
                try:
                    connection.sendall(b"x")
                    connection.settimeout(0.01)
                    if connection.recv(100) == b"":
                        ended.append(connection)
                except TimeoutError:
                    pass
                except OSError:
                    ended.append(connection)
        for connection in slow:
            connection.close()
        until(lambda: threading.active_count() <= before)
        assert asked(server, "state")[0] == 200


def is_served(server):
    try:
        return b" 403 " in raw(server, b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
    except OSError:  # who is told to come later before he has said what he wants may find the connection reset
        return False


def test_more_connections_than_are_served_are_told_to_come_later(serve, monkeypatch):
    monkeypatch.setattr(serving, "CONNECTIONS", 3)
    with serve(lambda _: TwoLayerNet(784, 3, 10, backend="numpy"), samples) as server:
        idle = [socket.create_connection((serving.HOST, server.port), timeout=30) for _ in range(3)]
        until(lambda: not server._free.acquire(blocking=False) or server._free.release())
        answer = raw(server, b"")
        assert answer.split()[1] == b"503"
        assert b"requests are being served already" in answer
        for connection in idle:
            connection.close()
        until(lambda: is_served(server))


def test_a_client_that_leaves_is_no_error(server, capfd):
    path = urlsplit(server.address).path.encode()
    for _ in range(5):
        with socket.create_connection((serving.HOST, server.port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closed by a reset
            connection.sendall(b"GET " + path + b" HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert asked(server, "state")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_port_that_is_taken_is_passed(serve, server):
    with serve(lambda _: TwoLayerNet(784, 3, 10, backend="numpy"), samples, port=server.port) as other:
        assert server.port < other.port <= server.port + serving.PORTS
        assert other.token != server.token


def test_an_error_of_a_library_is_told_and_the_next_request_is_served(server, ask, monkeypatch):
    def lost(*_):
        raise RuntimeError("the device is lost")

    with monkeypatch.context() as patched:
        patched.setattr(server.preparation.answers, "answer", lost)
        assert ask("answer", DRAWING)[::2] == (500, {"error": "RuntimeError: the device is lost"})
    assert ask("answer", DRAWING)[0] == 200


def test_a_training_tells_how_far_it_is(serve, some_digits):
    begun, go_on = threading.Event(), threading.Event()

    def make(told):
        def hold(_):
            begun.set()
            assert go_on.wait(30)

        net = TwoLayerNet(784, 3, 10, seed=0, backend="numpy")
        x, t = some_digits[0]
        data = {"validation": some_digits[1], "callbacks": [told, hold], "progress": False}
        Trainer(net, SGD(lr=0.1), batch_size=1000, seed=0).fit(x, t, iterations=6, **data)
        return net

    with serve(make, samples) as server:
        assert begun.wait(30)
        state = asked(server, "state")[2]
        assert state["phase"] == "preparing"
        assert "accuracy" not in state  # nothing has been learned yet
        assert state["network"] == "TwoLayerNet of a test"
        assert asked(server, "answer", DRAWING)[::2] == (503, {"error": "the network is not ready"})
        go_on.set()
        until(lambda: server.preparation.answers)
        state = asked(server, "state")[2]
        assert (state["phase"], state["steps"], state["goal"], state["left"]) == ("ready", 6, 6, 0)
        assert 0 <= state["accuracy"] <= 1


def test_a_training_that_fails_is_told(serve):
    def make(_):
        raise ValueError("the loss is not finite")

    with serve(make, samples) as server:
        until(lambda: server.preparation.problem)
        state = asked(server, "state")[2]
        assert state == {"phase": "failed", "error": "ValueError: the loss is not finite"}
        assert asked(server, "answer", DRAWING)[0] == 503


def test_the_end_ends_a_training(serve, some_digits):
    trainers = []

    def make(told):
        net = TwoLayerNet(784, 3, 10, seed=0, backend="numpy")
        trainers.append(Trainer(net, SGD(lr=0.1), seed=0))
        trainers[0].fit(*some_digits[0], iterations=10**9, callbacks=[told], progress=False)
        return net

    with serve(make, samples) as server:
        until(lambda: server.preparation.state().get("steps"))
    assert 0 < trainers[0].iteration < 10**9
