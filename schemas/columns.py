"""Every column name, once. Jobs refer to these constants, never to string literals."""

# identities
EVENT_ID = "event_id"
USER_ID = "user_id"
VIDEO_ID = "video_id"
CREATOR_ID = "creator_id"
REQUEST_ID = "request_id"

# interactions
INTERACTION_TYPE = "interaction_type"
OCCURRED_AT = "occurred_at"
WATCH_SECONDS = "watch_seconds"
QUERY = "query"
COMMENT = "comment"
LATITUDE = "latitude"
LONGITUDE = "longitude"
DEVICE = "device"
POSITION = "position"

# videos
TITLE = "title"
TAGS = "tags"
LANGUAGE = "language"
DURATION_SECONDS = "duration_seconds"
LIKE_COUNT = "like_count"
VIEW_COUNT = "view_count"
UPLOADED_AT = "uploaded_at"
BLOCKED_COUNTRIES = "blocked_countries"
MISINFORMATION_SCORE = "misinformation_score"
CLICKBAIT_SCORE = "clickbait_score"
SPONSORED_BOOST = "sponsored_boost"
REMOVED = "removed"

# users
USERNAME = "username"
AGE = "age"
GENDER = "gender"
CITY = "city"
COUNTRY = "country"
TIME_ZONE = "time_zone"
REGISTERED_AT = "registered_at"

# snapshots and partitions
SNAPSHOT_DATE = "snapshot_date"
VALID_FROM = "valid_from"
DT = "dt"
HR = "hr"

# rejected rows
SOURCE = "source"
FILE = "file"
REASON = "reason"
RULES = "rules"
PROPENSITY = "propensity"
DETAIL = "detail"
RECORD = "record"

# examples
EXPOSURE = "exposure"
KNOWN_AT = "known_at"
CLICKED = "clicked"
WATCH_FRACTION = "watch_fraction"
COMPLETED = "completed"
LIKED = "liked"
SHARED = "shared"
DISLIKED = "disliked"
MISSED = "missed"
LABEL = "label"
SAMPLE_RATE = "sample_rate"
WEIGHT = "weight"

# features
WATCHED = "watched"
INTERACTION_COUNT = "interaction_count"
IMPRESSIONS = "impressions"
VIEWS = "views"
LIKES = "likes"
RELEVANT = "relevant"
POPULARITY = "popularity"

# histories: what a user did last, newest first, and how many seconds ago
WATCHED_HISTORY = "watched_history"
WATCHED_AGES = "watched_ages_seconds"
LIKED_HISTORY = "liked_history"
LIKED_AGES = "liked_ages_seconds"
SEEN_HISTORY = "seen_history"
SEEN_AGES = "seen_ages_seconds"
SEARCHED_HISTORY = "searched_history"
SEARCHED_AGES = "searched_ages_seconds"

# trends: what happened to a video lately
IMPRESSIONS_HOUR = "impressions_last_hour"
IMPRESSIONS_DAY = "impressions_last_day"
IMPRESSIONS_WEEK = "impressions_last_week"
VIEWS_HOUR = "views_last_hour"
VIEWS_DAY = "views_last_day"
VIEWS_WEEK = "views_last_week"
LIKES_HOUR = "likes_last_hour"
LIKES_DAY = "likes_last_day"
LIKES_WEEK = "likes_last_week"

# text
TITLE_VECTOR = "title_vector"
TAGS_VECTOR = "tags_vector"
VECTOR = "vector"

# recommendations
RANK = "rank"
SCORE = "score"
SCORE_RANKER = "score_ranker"
SCORE_RETRIEVAL = "score_retrieval"
SCORE_WALS = "score_wals"
SCORE_POPULAR = "score_popular"
SCORE_LOCAL = "score_local"
SCORE_TREND = "score_trend"
SCORE_FRESH = "score_fresh"
SCORE_SPONSORED = "score_sponsored"
SOURCES = "sources"
MODEL_VERSION = "model_version"
AS_OF = "as_of"
EXPIRES_AT = "expires_at"
SEGMENT = "segment"
PARENT = "parent"

# what was served, and when
LANE = "lane"
GENERATORS = "generators"
SWITCHED_AT = "switched_at"
SWITCH = "switch"
LAYERS_EXPIRE_AT = "layers_expire_at"
ACTION = "action"
VERSION = "version"
LAYERS = "layers"

# evaluation
MODEL = "model"
BASELINE = "baseline"
SLICE_KIND = "slice_kind"
SLICE_VALUE = "slice_value"
METRIC = "metric"
VALUE = "value"
LOW = "low"
HIGH = "high"
USERS = "users"
EXAMPLES = "examples"

# lists that are compared and not served (jobs/_shadow.py)
CHAMPION = "champion"
CANDIDATE = "candidate"
