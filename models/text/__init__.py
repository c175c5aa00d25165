"""What texts say, as vectors: titles and queries through a sentence encoder, tags through CBOW."""

from models.text._cache import VectorCache
from models.text._config import TagsConfig, TextConfig
from models.text._encoder import Encoder, EncoderFiles, find_encoder
from models.text._normalise import normalised, normalised_tags
from models.text._tags import known_tags, mean_vectors, train_tags, training_space

__all__ = [
    "Encoder",
    "EncoderFiles",
    "TagsConfig",
    "TextConfig",
    "VectorCache",
    "find_encoder",
    "known_tags",
    "mean_vectors",
    "normalised",
    "normalised_tags",
    "train_tags",
    "training_space",
]
