"""Recommendations over HTTP: ``python -m serving.http`` serves what is live, and on request a page to look at it."""

from serving.http._app import create_app
from serving.http._config import HttpConfig
from serving.http._keys import ApiKeys

__all__ = ["ApiKeys", "HttpConfig", "create_app"]
