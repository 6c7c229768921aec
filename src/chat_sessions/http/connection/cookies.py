"""The cookies of our own clients, such as those by which a load balancer finds its server again."""

from __future__ import annotations

import httpx

__all__ = ["Cookies"]


class Cookies(httpx.Cookies):
    """httpx's cookies, which skip answers that set none: reading those takes a tenth of a request's time."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Keep the cookies that the answer sets."""
        if "set-cookie" in response.headers:
            super().extract_cookies(response)
