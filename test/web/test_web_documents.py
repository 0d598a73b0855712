"""Views that a page may open: under an address that nobody can guess, held apart from the page, the newest few."""

import asyncio

import aiohttp
import pytest
from web_client import PATIENCE_S

from vla_policy.web.documents import KEPT, Documents


def test_old_ones_are_deleted_and_unknown_addresses_are_none(tmp_path):
    documents = Documents()
    files = [tmp_path / f"{k}.html" for k in range(KEPT + 2)]
    for file in files:
        file.write_text("x")
    paths = [documents.add(file) for file in files]
    assert len(set(paths)) == KEPT + 2
    found = [documents.find(path.removeprefix("/view/")) for path in paths]
    assert found == [None, None, *files[2:]]
    assert [file.exists() for file in files] == [False, False, *[True] * KEPT]
    assert documents.find("") is None


@pytest.mark.parametrize("token", ["", "x", "..%2Fpage.js", "..%2Fserver.py"])
def test_what_was_not_made_for_a_page_is_not_served(site, token):
    assert site.ask("GET", f"/view/{token}")[0] == 404


def test_a_view_cannot_reach_the_page_that_opened_it(site, tmp_path):
    (tmp_path / "a.html").write_text("<script>1</script>")
    path = site.server._documents.add(tmp_path / "a.html")

    async def run():
        async with aiohttp.ClientSession() as http, http.get(site.url + path) as reply:
            return reply.status, await reply.text(), reply.headers

    status, text, headers = asyncio.run(asyncio.wait_for(run(), PATIENCE_S))
    assert status == 200 and text == "<script>1</script>"
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-scripts;") and "allow-same-origin" not in policy
    assert "default-src 'none'" in policy and headers["Content-Type"].startswith("text/html")
    assert site.ask("GET", path, Host="evil.example")[0] == 403
