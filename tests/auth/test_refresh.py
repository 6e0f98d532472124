import pytest

from app_kernel.auth.refresh import RefreshTokens, hash_refresh_token, new_nonce, parse_refresh_token
from app_kernel.core.clock import new_id
from app_kernel.core.errors import InvalidToken

OLD, NEW, OTHER = "old-secret", "new-secret", "other-secret"


def test_a_token_is_genuine_only_for_its_session_generation_and_nonce():
    tokens, session, nonce = RefreshTokens([NEW]), new_id(), new_nonce()
    token = parse_refresh_token(tokens.derive(session, 3, nonce))
    assert (token.session_id, token.generation) == (session, 3)
    assert tokens.is_genuine(token, nonce)
    assert not tokens.is_genuine(token, new_nonce())
    assert not RefreshTokens([OTHER]).is_genuine(token, nonce)
    text = tokens.derive(session, 3, nonce)
    assert not tokens.is_genuine(parse_refresh_token(text.replace("_3_", "_4_")), nonce)
    assert not tokens.is_genuine(parse_refresh_token(text.replace(session, new_id())), nonce)


def test_a_rotated_secret_still_knows_the_tokens_of_the_one_before():
    session, nonce = new_id(), new_nonce()
    before, during, after = RefreshTokens([OLD]), RefreshTokens([NEW, OLD]), RefreshTokens([NEW])
    text = before.derive(session, 1, nonce)
    assert during.is_genuine(parse_refresh_token(text), nonce)
    assert not after.is_genuine(parse_refresh_token(text), nonce)
    assert during.derive(session, 1, nonce) != text
    assert during.derive_stored(session, 1, nonce, hash_refresh_token(text)) == text
    assert after.derive_stored(session, 1, nonce, hash_refresh_token(text)) is None


def test_the_stored_form_gives_no_token_away():
    text = RefreshTokens([NEW]).derive(new_id(), 1, new_nonce())
    assert text not in hash_refresh_token(text)
    assert len(hash_refresh_token(text)) == 64


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rt_",
        "rt_a_1",
        "rt_a_0_" + "A" * 43,
        "rt_a_-1_" + "A" * 43,
        "rt_a_01_" + "A" * 43,
        "rt_a_9999999999_" + "A" * 43,
        "rt_a_1_" + "A" * 42,
        "rt_a_1_" + "A" * 44,
        "rt_a_1_" + "A" * 42 + "\n",
        "rt_a'b_1_" + "A" * 43,
        "rt_" + "a" * 65 + "_1_" + "A" * 43,
        "rt_a_\u0661_" + "A" * 43,
        "eyJhbGciOiJub25lIn0.e30.",
        "sk_live_abc",
    ],
)
def test_what_is_no_refresh_token_is_refused(text):
    with pytest.raises(InvalidToken):
        parse_refresh_token(text)
