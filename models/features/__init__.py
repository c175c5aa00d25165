"""The features of users, contexts and videos: declared once, and encoded by the same code for training and inference."""

from models.features._declared import FEATURES, USER_ID
from models.features._kinds import (
    Bucket,
    Clock,
    Embedding,
    Feature,
    Number,
    OneHot,
    Sequence,
    TextMean,
    Vector,
)
from models.features._spec import FeatureSpec, History, example_users, example_videos, with_text

__all__ = [
    "FEATURES",
    "USER_ID",
    "Bucket",
    "Clock",
    "Embedding",
    "Feature",
    "FeatureSpec",
    "History",
    "Number",
    "OneHot",
    "Sequence",
    "TextMean",
    "Vector",
    "example_users",
    "example_videos",
    "with_text",
]
