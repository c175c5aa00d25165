"""The serving store in Redis: lists in memory, for apps that read a great many homepages a second."""

from serving.redis._store import RedisStore

__all__ = ["RedisStore"]
