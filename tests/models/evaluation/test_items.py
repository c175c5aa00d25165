import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

from models.evaluation import Holdout, item_vectors
from tests.models.evaluation.planted import EXAMPLES_TABLE, world_of

VECTORS = pa.list_(pa.float32())


def with_text(titles, tags):
    world = world_of()
    videos = world.videos.append_column("title_vector", pa.array(titles, VECTORS))
    videos = videos.append_column("tags_vector", pa.array(tags, VECTORS))
    return Holdout(world.users, videos, world.queries, world.relevant, world.at)


def test_titles_come_first_as_unit_vectors():
    found = item_vectors(with_text([[3.0, 4.0], None, [0.0, 2.0]], [[1.0], [1.0], [1.0]]), EXAMPLES_TABLE)
    assert found.name == "titles"
    np.testing.assert_allclose(found.rows, [[0.6, 0.8], [0, 0], [0, 1]])


def test_tags_where_most_videos_have_no_title():
    found = item_vectors(with_text([[3.0, 4.0], None, None], [[2.0], [1.0], None]), EXAMPLES_TABLE)
    assert found.name == "tags"
    np.testing.assert_allclose(found.rows, [[1], [1], [0]])


def test_who_found_it_relevant_before_where_there_is_no_text():
    # The only relevant example up to the start is that of user 4 and video 11: one at the very start is not before it.
    assert item_vectors(with_text([None] * 3, [None] * 3), EXAMPLES_TABLE) is None
    earlier = EXAMPLES_TABLE.set_column(
        EXAMPLES_TABLE.schema.get_field_index("label"), "label", pa.array([1] * EXAMPLES_TABLE.num_rows, pa.int32())
    )
    found = item_vectors(with_text([None] * 3, [None] * 3), earlier)
    assert found.name == "who found a video relevant"
    assert sp.issparse(found.rows)
    # Videos 10, 11, 12 in turn; of users 1 and 2 video 10, of user 3 video 12.
    np.testing.assert_allclose(found.rows.toarray(), [[0.5**0.5, 0.5**0.5, 0], [0, 0, 0], [0, 0, 1]])


def test_a_world_without_text_columns():
    assert item_vectors(world_of(), EXAMPLES_TABLE.slice(0, 0)) is None


@pytest.mark.parametrize("column", ["title_vector", "tags_vector"])
def test_no_videos_at_all(column):
    world = with_text([None] * 3, [None] * 3)
    nothing = Holdout(world.users, world.videos.slice(0, 0), world.queries, world.relevant[:, :0], world.at)
    assert column in nothing.videos.column_names
    assert item_vectors(nothing, EXAMPLES_TABLE) is None
