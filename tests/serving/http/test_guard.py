"""Who may ask, how often, and what every answer carries."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from schemas.errors import ReelflowError
from serving import SqliteStore
from serving.http import ApiKeys
from serving.http._config import is_loopback, refuse_unsafe
from tests.serving.http.clients import client, config

KEY, OTHER = "k" * 24, "o" * 24
PATH = "/users/7/recommendations"


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


KEYS = ApiKeys({"app": digest(KEY), "other": digest(OTHER)})


class TestKeys:
    @pytest.mark.parametrize("header", [None, "", KEY, "Bearer", f"Bearer {KEY}x", f"Basic {KEY}", f"Bearer {digest(KEY)}"])
    def test_without_a_known_key_nothing_is_answered(self, store: SqliteStore, header: str | None) -> None:
        browser = client(store, keys=KEYS, url="http://reelflow.example")
        for path in (PATH, "/fallback/all", "/metrics", "/openapi.json", "/nowhere"):
            answer = browser.get(path, headers={} if header is None else {"Authorization": header})
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="reelflow"')
            assert KEY not in answer.text

    def test_with_one_it_is(self, store: SqliteStore) -> None:
        browser = client(store, keys=KEYS, url="http://reelflow.example")
        for header in (f"Bearer {KEY}", f"bearer {OTHER}", f"Bearer  {KEY} "):
            assert browser.get(PATH, headers={"Authorization": header}).status_code == 200

    def test_health_and_readiness_are_open(self, store: SqliteStore) -> None:
        browser = client(store, keys=KEYS, url="http://10.0.0.7:8090")
        assert [browser.get(path).status_code for path in ("/health", "/ready")] == [200, 200]

    def test_openapi_says_which_routes_need_one(self, store: SqliteStore) -> None:
        described = client(store, keys=KEYS).get("/openapi.json", headers={"Authorization": f"Bearer {KEY}"}).json()
        needing = {path for path, methods in described["paths"].items() if "security" in next(iter(methods.values()))}
        assert set(described["paths"]) - needing == {"/health", "/ready"}
        assert described["components"]["securitySchemes"]["key"]["scheme"] == "bearer"

    def test_they_come_from_the_environment_and_from_a_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "keys"
        file.write_text(f"# of the apps\n\napp {digest(KEY)}  # phone\n")
        monkeypatch.setenv("REELFLOW_API_KEYS", f" {OTHER}, {'p' * 20}\n")
        keys = ApiKeys.configured(file)
        assert [keys.owner(key) for key in (KEY, OTHER, "p" * 20, "", "x")] == [
            "app",
            "environment-1",
            "environment-2",
            None,
            None,
        ]
        monkeypatch.delenv("REELFLOW_API_KEYS")
        assert not ApiKeys.configured(None)

    @pytest.mark.parametrize(
        ("line", "message"),
        [("app", "line 1: found something else"), ("app secret", "line 1"), (f"app {'A' * 64}", "lower-case hexadecimal")],
    )
    def test_a_file_of_another_form_is_refused_without_its_content(self, tmp_path: Path, line: str, message: str) -> None:
        (tmp_path / "keys").write_text(f"{line}\n")
        with pytest.raises(ReelflowError, match=message) as refused:
            ApiKeys.configured(tmp_path / "keys")
        assert "secret" not in str(refused.value)

    def test_a_name_that_stands_twice_or_a_missing_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "keys").write_text(f"app {digest(KEY)}\napp {digest(OTHER)}\n")
        with pytest.raises(ReelflowError, match="line 2"):
            ApiKeys.configured(tmp_path / "keys")
        with pytest.raises(ReelflowError, match="cannot be read"):
            ApiKeys.configured(tmp_path / "none")

    @pytest.mark.parametrize("content", ["", "# rotated, to be filled\n\n"])
    def test_a_file_without_a_key_is_no_open_door(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
        monkeypatch.setenv("REELFLOW_API_KEYS", KEY)
        (tmp_path / "keys").write_text(content)
        with pytest.raises(
            ReelflowError, match=r"^http\.api_keys: \S+keys: found no key, expected a line `NAME SHA256` each; "
        ):
            ApiKeys.configured(tmp_path / "keys")

    @pytest.mark.parametrize("blank", ["", " ", "\n", ", ,"])
    def test_neither_is_a_variable_without_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
        (tmp_path / "keys").write_text(f"app {digest(KEY)}\n")
        monkeypatch.setenv("REELFLOW_API_KEYS", blank)
        for file in (None, tmp_path / "keys"):
            with pytest.raises(ReelflowError, match=r"^REELFLOW_API_KEYS: found no key, expected a key of 20 characters"):
                ApiKeys.configured(file)

    def test_a_short_key_is_refused_without_being_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REELFLOW_API_KEYS", f"{KEY} swordfish")
        with pytest.raises(ReelflowError, match="found 9 characters in key 2") as refused:
            ApiKeys.configured(None)
        assert "swordfish" not in str(refused.value)


class TestHosts:
    @pytest.mark.parametrize("host", ["evil.example", "evil.example:8090", "127.0.0.1.evil.example", "192.168.0.9", ""])
    def test_without_keys_another_name_for_this_machine_is_refused(self, store: SqliteStore, host: str) -> None:
        """A page elsewhere can let its own name lead here (DNS rebinding), and its visitor's browser would ask."""
        answer = client(store).get(PATH, headers={"Host": host})
        assert (answer.status_code, answer.json()["which"]) == (421, "header Host")

    @pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8090", "127.0.0.1", "127.0.0.2:1", "[::1]:8090"])
    def test_its_own_names_are_known(self, store: SqliteStore, host: str) -> None:
        assert client(store).get(PATH, headers={"Host": host}).status_code == 200

    @pytest.mark.parametrize(
        ("host", "expected"),
        [
            *((host, True) for host in ("127.0.0.1", "::1", "localhost")),
            *((host, False) for host in ("0.0.0.0", "::", "10.1.2.3", "example.org", "")),
        ],
    )
    def test_what_is_loopback(self, host: str, expected: bool) -> None:
        assert is_loopback(host) is expected

    def test_other_machines_need_keys_and_never_see_the_page(self) -> None:
        refuse_unsafe(config(page=True), ApiKeys())
        refuse_unsafe(config(host="0.0.0.0"), KEYS)
        with pytest.raises(ReelflowError, match=r"http\.host: found 0\.0\.0\.0.*no API keys; expected keys, or 127\.0\.0\.1"):
            refuse_unsafe(config(host="0.0.0.0"), ApiKeys())
        with pytest.raises(ReelflowError, match=r"http\.page: found it on at 0\.0\.0\.0"):
            refuse_unsafe(config(host="0.0.0.0", page=True), KEYS)

    def test_who_serves_others_serves_no_page(self) -> None:
        """A proxy on this machine that passes on a name of this machine and nothing else looks like its browser."""
        refuse_unsafe(config(trusted_proxies=["127.0.0.1"]), KEYS)
        second = "run a second server for it, at 127.0.0.1 without keys and proxies"
        with pytest.raises(ReelflowError, match=rf"http\.page: found it on with API keys; .*{second}"):
            refuse_unsafe(config(page=True), KEYS)
        with pytest.raises(ReelflowError, match=rf"http\.page: found it on with http\.trusted_proxies; .*{second}"):
            refuse_unsafe(config(page=True, trusted_proxies=["127.0.0.1"]), ApiKeys())


class TestRates:
    def test_who_asks_too_often_has_to_wait(self, store: SqliteStore) -> None:
        browser = client(store, rate_limit=0.01)
        assert browser.get(PATH).status_code == 200
        refused = browser.get(PATH)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "100")
        assert refused.json()["title"] == "Too Many Requests"
        assert browser.get("/health").status_code == 200

    def test_each_key_has_a_rate_of_its_own(self, store: SqliteStore) -> None:
        browser = client(store, keys=KEYS, rate_limit=0.01)
        codes = [browser.get(PATH, headers={"Authorization": f"Bearer {key}"}).status_code for key in (KEY, KEY, OTHER, OTHER)]
        assert codes == [200, 429, 200, 429]

    def test_wrong_keys_are_no_clients(self, store: SqliteStore) -> None:
        browser = client(store, keys=KEYS, rate_limit=0.01)
        codes = {browser.get(PATH, headers={"Authorization": f"Bearer {n}"}).status_code for n in range(5)}
        assert codes == {401}


class TestHeaders:
    def test_every_answer_is_guarded(self, store: SqliteStore) -> None:
        browser = client(store)
        for path in (PATH, "/health", "/nowhere", "/users/x/recommendations"):
            headers = browser.get(path).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
            assert "unsafe" not in headers["content-security-policy"]
            assert "server" not in headers
            assert "access-control-allow-origin" not in headers
