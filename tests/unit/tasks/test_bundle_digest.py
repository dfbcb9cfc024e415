"""The digest of a bundle: the same content has one, any change has another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.tasks.bundle import bundle_digest
from device_agent.tasks.manifest import Manifest, parse_manifest
from device_agent.tasks.names import sha256_digest

TOML = '[task]\nname = "digits"\nentry = "main:on_event"\n[[triggers]]\nevent = 1001\n'
files = st.dictionaries(
    st.from_regex(r"[a-z]{1,6}", fullmatch=True),
    st.binary(max_size=8).map(sha256_digest),
    max_size=4,
)


def manifest(extra: str = "") -> Manifest:
    return parse_manifest(TOML + extra)


@pytest.mark.slow
@given(files, files)
def test_order_of_files_does_not_count(sources: dict[str, str], resources: dict[str, str]) -> None:
    turned = dict(reversed(sources.items()))
    assert bundle_digest(manifest(), sources, resources) == bundle_digest(
        manifest(), turned, resources
    )


@given(files, files, files, files)
def test_other_content_has_another_digest(
    a: dict[str, str], b: dict[str, str], c: dict[str, str], d: dict[str, str]
) -> None:
    same = (a, b) == (c, d)
    assert (bundle_digest(manifest(), a, b) == bundle_digest(manifest(), c, d)) is same


def test_a_changed_limit_is_another_bundle() -> None:
    other = manifest("[limits]\nwall_ms = 999\n")
    assert bundle_digest(manifest(), {}, {}) != bundle_digest(other, {}, {})


def test_comments_and_spelt_out_defaults_are_the_same_bundle() -> None:
    other = parse_manifest("# a comment\n" + TOML + "[limits]\nwall_ms = 1000\n")
    assert bundle_digest(manifest(), {}, {}) == bundle_digest(other, {}, {})
