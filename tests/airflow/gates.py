"""What stands between a caller and a function in Google Cloud: Google's servers give an identity token to who has the
key of a service account, and Cloud Run lets in who has one that is meant for the function.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from local.proxy import Answer, Forward, Proxy, Request, standing_before

ACCOUNT = "airflow@recosync.iam.gserviceaccount.com"
_SIGNATURE = "by-nobody"


class Google:
    """The key of Airflow's account, and the server that gives tokens for it."""

    def __init__(self, proxy: Proxy) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._proxy = proxy

    def write_key(self, file: Path) -> None:
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        key = {"private_key": pem.decode(), "private_key_id": "1", "client_email": ACCOUNT, "client_id": "1"}
        file.write_text(json.dumps({"type": "service_account", "token_uri": self._proxy.url, **key}))

    def give(self, request: Request, _: Forward) -> Answer:
        """A token for the audience that a signed assertion names
        (https://developers.google.com/identity/protocols/oauth2/service-account#httprest).
        """
        (assertion,) = parse_qs(request.body.decode())["assertion"]
        head, claims, signature = assertion.split(".")
        self._key.public_key().verify(
            _bytes(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
        )
        asked = json.loads(_bytes(claims))
        token = {"aud": asked["target_audience"], "email": asked["iss"], "exp": int(time.time()) + 3600}
        parts = (json.dumps({"alg": "RS256"}).encode(), json.dumps(token).encode(), _SIGNATURE.encode())
        return Answer(200, json.dumps({"id_token": ".".join(map(_text, parts))}).encode())


@contextmanager
def google() -> Iterator[Google]:
    with standing_before("http://127.0.0.1:1") as proxy:
        here = Google(proxy)
        with proxy.fault(here.give):
            yield here


@contextmanager
def gate(function: str) -> Iterator[Proxy]:
    """An address that lets in who has a token for it, as Cloud Run does."""
    with standing_before(function) as proxy:

        def let_in(request: Request, forward: Forward) -> Answer:
            kind, _, token = request.headers.get("authorization", "").partition(" ")
            _, claims, signature = token.split(".") if token.count(".") == 2 else ("", "", "")
            if kind != "Bearer" or _bytes(signature) != _SIGNATURE.encode():
                return Answer(401, b"<title>401 Unauthorized</title>", {"Content-Type": "text/html"})
            found = json.loads(_bytes(claims))
            if (found["aud"], found["email"]) != (proxy.url, ACCOUNT):
                return Answer(403, b"<title>403 Forbidden</title>", {"Content-Type": "text/html"})
            return forward(request)

        with proxy.fault(let_in):
            yield proxy


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
