"""When something expires, and when that is said."""

import datetime as dt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from cloud.artifacts.objects import ObjectFolder
from cloud.keys.expiry import Expiry, ExpiryWatch, Kind, State, role_expiry
from cloud.keys.generate import init_keys
from cloud.keys.metrics import SECONDS_LEFT
from cloud.keys.online import OnlineKeys
from cloud.keys.repository import TufRepository
from cloud.keys.settings import DAY_MS, KeySettings

NOW = 1_790_000_000_000
SETTINGS = KeySettings(expiry_warning_days=30, expiry_names_logged_max=2)


@given(st.sampled_from(list(Kind)), st.integers(-(10**12), 10**12))
def test_a_state_only_gets_worse_with_time(kind: Kind, left_ms: int) -> None:
    one = Expiry(kind=kind, name="x", expires_at_ms=NOW + left_ms)
    order = [State.OK, State.SOON, State.EXPIRED]
    seen = [order.index(one.state(NOW + step * DAY_MS, SETTINGS)) for step in range(0, 4000, 50)]
    assert seen == sorted(seen)
    assert (one.state(NOW, SETTINGS) is State.EXPIRED) == (left_ms <= 0)


@pytest.mark.parametrize(
    ("kind", "left_ms", "state"),
    [
        (Kind.TARGETS, 30 * DAY_MS, State.OK),
        (Kind.TARGETS, 30 * DAY_MS - 1, State.SOON),
        (Kind.TASK, 1, State.SOON),
        (Kind.CA, 0, State.EXPIRED),
        (Kind.SNAPSHOT, 2 * DAY_MS, State.OK),
        (Kind.SNAPSHOT, 1 * DAY_MS, State.SOON),
        (Kind.TIMESTAMP, 7 * DAY_MS // 24, State.OK),
        (Kind.TIMESTAMP, 5 * DAY_MS // 24, State.SOON),
    ],
)
def test_what_the_server_signs_itself_is_warned_of_later(
    kind: Kind, left_ms: int, state: State
) -> None:
    assert Expiry(kind=kind, name="x", expires_at_ms=NOW + left_ms).state(NOW, SETTINGS) is state


@pytest.fixture
async def published(tmp_path: Path) -> tuple[TufRepository, OnlineKeys]:
    keys = init_keys(tmp_path / "keys", namespaces=["demo/app", "demo/other"], now_ms=NOW)
    online = OnlineKeys.load(keys.online)
    repository = TufRepository(ObjectFolder.open("memory://"), online.repository)
    await repository.load(online.first_metadata, NOW)
    return repository, online


async def test_every_role_and_certificate_is_watched(
    published: tuple[TufRepository, OnlineKeys],
) -> None:
    repository, online = published
    found = {one.name: one for one in [*repository.expiries(), *online.expiries()]}
    assert set(found) == {
        *("root", "targets", "snapshot", "timestamp", "demo.app", "demo.other", "ca", "server")
    }
    assert (found["root"].threshold, len(found["root"].keyids)) == (2, 3)
    assert found["demo.app"].kind is Kind.NAMESPACE
    assert found["demo.app"].expires_at_ms == NOW + 365 * DAY_MS
    assert found["ca"].expires_at_ms > NOW + 20 * 365 * DAY_MS


async def test_the_log_warns_ahead_and_the_metric_counts_down(
    published: tuple[TufRepository, OnlineKeys],
) -> None:
    repository, online = published
    watch = ExpiryWatch(lambda: [*repository.expiries(), *online.expiries()], SETTINGS)
    with capture_logs() as logs:
        watch.look(NOW)
    assert (logs, watch.warnings) == ([], ())
    assert SECONDS_LEFT.labels("root")._value.get() == 365 * 24 * 3600
    later = NOW + 336 * DAY_MS
    await repository.refresh_online(later)
    with capture_logs() as logs:
        watch.look(later)
    (line,) = logs
    assert (line["event"], line["log_level"], line["count"]) == ("keys.expiring", "warning", 4)
    assert (line["first_days"], len(line["names"])) == (29.0, 2)
    assert "keys: 2 of kind namespace expires soon" in watch.warnings
    assert not any("demo" in text for text in watch.warnings), "readyz needs no token"
    watch.look(NOW + 366 * DAY_MS)
    assert "keys: 1 of kind root expired" in watch.warnings
    assert SECONDS_LEFT.labels("root")._value.get() == -24 * 3600


def test_a_task_role_is_told_from_a_namespace_role() -> None:
    from tuf.api.metadata import Targets

    signed = Targets(3, "1.0.31", dt.datetime.fromtimestamp(NOW / 1000, tz=dt.UTC))
    assert role_expiry("demo.app.hello", signed).kind is Kind.TASK
    assert role_expiry("demo.app", signed).kind is Kind.NAMESPACE
    assert role_expiry("targets", signed).version == 3
