import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.admin.errors import ArgumentInvalid, PageTokenInvalid
from cloud.admin.paging import (
    Key,
    PageRequest,
    cut_page,
    decode_token,
    encode_token,
    page_limit,
)
from cloud.admin.settings import AdminSettings

keys = st.lists(
    st.text(st.characters(exclude_characters="\0", codec="utf-8"))
    | st.integers(-(2**63), 2**63 - 1),
    min_size=1,
    max_size=3,
).map(tuple)


@pytest.mark.slow
@given(keys)
def test_a_token_gives_back_its_key(key: Key) -> None:
    types = tuple(type(part) for part in key)
    assert decode_token("devices", encode_token("devices", key), types) == key


@given(st.text(max_size=40))
def test_any_other_text_is_refused_not_misread(text: str) -> None:
    if text:
        with pytest.raises(PageTokenInvalid):
            decode_token("devices", text, (str,))


def test_a_token_of_another_list_or_another_key_is_refused() -> None:
    token = encode_token("devices", ("abc",))
    with pytest.raises(PageTokenInvalid, match="another list"):
        decode_token("audit", token, (str,))
    with pytest.raises(PageTokenInvalid):
        decode_token("devices", token, (int,))


def test_no_token_is_the_first_page() -> None:
    assert decode_token("devices", "", (str,)) is None


@pytest.mark.parametrize("size", [-1, 501])
def test_sizes_out_of_bounds_are_refused(size: int) -> None:
    with pytest.raises(ArgumentInvalid, match="1 to 500"):
        page_limit(PageRequest(size=size), AdminSettings())


def test_size_0_is_the_default() -> None:
    assert page_limit(PageRequest(), AdminSettings()) == 100


def test_the_extra_row_only_says_that_there_is_more() -> None:
    page = cut_page([1, 2, 3], 2, "numbers", lambda row: (row,))
    assert page.items == (1, 2)
    assert decode_token("numbers", page.next_page_token, (int,)) == (2,)
    assert cut_page([1, 2], 2, "numbers", lambda row: (row,)).next_page_token == ""
