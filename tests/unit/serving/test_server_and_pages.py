"""Binding tells what is free; pages bring everything with them."""

from __future__ import annotations

import base64
import hashlib
import re
import socket

import pytest

from bodh.errors import UserError
from bodh.serving import pages
from bodh.serving.server import bind
from tests.unit.serving.conftest import Caller


def test_a_port_in_use_is_told_with_the_next_free_one() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError) as caught:
            bind("127.0.0.1", port)
    assert caught.value.exit_code == 2
    match = re.fullmatch(
        rf"port {port} on 127\.0\.0\.1 is in use; the next free one is (\d+), type: --port \1", str(caught.value)
    )
    assert match
    assert int(match[1]) > port


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7", "\udcff"])
def test_an_address_that_is_not_ours_is_told(host: str) -> None:
    with pytest.raises(UserError, match="cannot serve at host"):
        bind(host, 8000)


def test_the_socket_listens_at_once() -> None:
    with bind("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname(), timeout=5):
        pass


@pytest.mark.parametrize("name", ["index", "docs"])
def test_a_page_brings_everything_with_it(name: str) -> None:
    page = pages.page(name)
    assert not re.search(r"""(?:src|href)=["'](?!data:|\./|docs|health|model|openapi\.json)""", page.html)
    assert "http://" not in page.html.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page.html
    script = page.html.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page.policy
    assert "default-src 'none'" in page.policy


def test_pages_are_sent_with_their_policy(call: Caller) -> None:
    for path in ("/", "/docs"):
        response = call("GET", path)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/html")
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
