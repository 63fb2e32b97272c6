"""The zipped code of a small function that streams.

It is a wrapper and a runtime loop on plain sockets.
"""

import io
import zipfile

WRAPPER = """#!/bin/sh
exec "$1" "$LAMBDA_TASK_ROOT/main.py"
"""

# The path of the event decides what the function does.
MAIN = r"""
import base64, json, os, socket, subprocess, sys, threading, time

host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
BASE = "/2018-06-01/runtime/"


def request(method, path, headers="", body=b""):
    sock = socket.create_connection((host, int(port)))
    sock.sendall(f"{method} {BASE}{path} HTTP/1.1\r\nHost: {host}:{port}\r\n{headers}\r\n".encode() + body)
    return sock


def answer(sock):
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(65536)
    head, body = data.split(b"\r\n\r\n", 1)
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    while len(body) < int(headers["Content-Length"]):
        body += sock.recv(65536)
    sock.close()
    return headers, body


def chunk(sock, data):
    sock.sendall(b"%x\r\n" % len(data) + data + b"\r\n")


print("starting", os.getpid(), flush=True)
if os.environ.get("INIT") == "exit":
    sys.exit("cannot start")
if os.environ.get("INIT") == "error":
    answer(request("POST", "init/error", "Content-Length: 42\r\n", b'{"errorType":"Init","errorMessage":"told"}'))
    sys.exit(1)
if os.environ.get("INIT") == "slow" and not os.path.exists(os.environ["MARK"]):
    open(os.environ["MARK"], "w").close()
    time.sleep(60)


def count():
    while True:
        with open(os.environ["MARK"], "a") as file:
            file.write(".")
        time.sleep(0.005)


def serve():
    while True:
        headers, body = answer(request("GET", "invocation/next"))
        event = json.loads(body)
        path = event["rawPath"]
        where = "invocation/" + headers["Lambda-Runtime-Aws-Request-Id"] + "/"
        if path == "/crash":
            os._exit(3)
        if path == "/error":
            text = b'{"errorType":"E","errorMessage":"told to"}'
            answer(request("POST", where + "error", f"Content-Length: {len(text)}\r\n", text))
            continue
        if path == "/memory":
            held = b"x" * (int(event["rawQueryString"]) * 2**20)
            time.sleep(30)
        if path == "/child-memory":
            code = f"held = b'x' * ({event['rawQueryString']} * 2**20); import time; time.sleep(30)"
            subprocess.run([sys.executable, "-c", code])
        if path == "/print":
            print(event["rawQueryString"], flush=True)
        if path == "/next":
            sock = request("GET", "invocation/next")
            print("told", sock.recv(65536).split(b"\r\n")[0], flush=True)
            sys.exit(5)
        if path == "/mode":
            mode = "Lambda-Runtime-Function-Response-Mode: sideways\r\nContent-Length: 2\r\n"
            answer(request("POST", where + "response", mode, b"{}"))
            continue
        if path == "/large":
            text = json.dumps("x" * 6291456).encode()
            answer(request("POST", where + "response", f"Content-Length: {len(text)}\r\n", text))
            continue
        if path == "/background":
            threading.Thread(target=count, daemon=True).start()
            while not os.path.exists(os.environ["MARK"]):
                time.sleep(0.005)
        if path == "/connect":
            peer = socket.create_connection(("127.0.0.1", int(event["rawQueryString"])))
        if path in ("/connect", "/send"):
            peer.sendall(b"GET /_local/status HTTP/1.1\r\nHost: x\r\n\r\n")
            print("peer closed" if peer.recv(65536) == b"" else "peer answered", flush=True)
        if path == "/held":
            with open(os.environ["MARK"] + ".begun", "a") as file:
                file.write(".")
            while not os.path.exists(os.environ["MARK"]):
                time.sleep(0.005)
        if path == "/sleep":
            time.sleep(float(event["rawQueryString"]))
        if path == "/buffered":
            found = {"statusCode": 201, "headers": {"x-a": "b"}, "cookies": ["c=d"], "body": "whole"}
            text = json.dumps(found).encode()
            answer(request("POST", where + "response", f"Content-Length: {len(text)}\r\n", text))
            continue
        sock = request(
            "POST", where + "response",
            "Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n"
            "Content-Type: application/vnd.awslambda.http-integration-response\r\n"
            "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n",
        )
        fields = {"content-type": "text/plain", "x-pid": str(os.getpid())}
        chunk(sock, json.dumps({"statusCode": 200, "headers": fields, "cookies": ["a=1", "b=2"]}).encode())
        chunk(sock, b"\0" * 8)
        if path == "/event":
            chunk(sock, json.dumps(event).encode())
        elif path == "/environment":
            found = {"variables": dict(os.environ), "executable": sys.executable, "headers": headers}
            chunk(sock, json.dumps(found).encode())
        elif path == "/big":
            for _ in range(int(event["rawQueryString"])):
                chunk(sock, b"x" * 65536)
            with open(os.environ["MARK"], "w") as file:
                file.write("done")
        elif path == "/stall":
            chunk(sock, b"begun")
            time.sleep(30)
        elif path == "/ticks":
            for number in range(5):
                chunk(sock, b"tick %d\n" % number)
                while os.path.getsize(os.environ["MARK"]) <= number:
                    time.sleep(0.005)
        else:
            chunk(sock, b"hello")
        if path == "/cut":
            kind = base64.b64encode(b'{"errorType":"E","errorMessage":"cut"}')
            name = b"Lambda-Runtime-Function-Error-"
            sock.sendall(b"0\r\n" + name + b"Type: E.Cut\r\n" + name + b"Body: " + kind + b"\r\n\r\n")
        elif path == "/exit":
            while not os.path.exists(os.environ["MARK"]):
                time.sleep(0.005)
            os._exit(4)
        else:
            sock.sendall(b"0\r\n\r\n")
        answer(sock)


for _ in range(int(os.environ.get("AWS_LAMBDA_MAX_CONCURRENCY", "1")) - 1):
    threading.Thread(target=serve, daemon=True).start()
serve()
"""


def zipped(main: str = MAIN) -> bytes:
    """Return the package as a zip. The wrapper is executable."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        wrapper = zipfile.ZipInfo("bootstrap")
        wrapper.external_attr = 0o755 << 16
        archive.writestr(wrapper, WRAPPER)
        archive.writestr("main.py", main)
    return file.getvalue()
