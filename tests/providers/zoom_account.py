"""A Zoom account at a test's own server."""

from bulkreset.providers.zoom.account import Zoom
from bulkreset.secret import Secret


def build(url, transport, clock):
    return Zoom(
        account="zoom-test",
        api_url=f"{url}/v2/",
        oauth_url=f"{url}/oauth/token",
        account_id="acc",
        client_id=Secret("client"),
        client_secret=Secret("client-secret"),
        transport=transport,
        monotonic=clock.monotonic,
        sleep=clock.sleep,
        clock=clock.now,
    )
