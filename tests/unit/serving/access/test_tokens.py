"""Tokens of a real issuer on loopback."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from graftwork.api_keys import new_key
from graftwork.errors import SpecError
from graftwork.metrics import ServingMetrics
from graftwork_serving.access import signers as signers_module
from graftwork_serving.access.callers import Caller, RefusedError
from graftwork_serving.access.guard import Guard
from graftwork_serving.access.signers import SignerKeys, fetch_keys
from graftwork_serving.access.tokens import TokenVerifier
from graftwork_serving.endpoint_config import AccessConfig, TokenConfig
from graftwork_serving.work_pool import WorkPool
from tests.support.bundles import picture_bytes
from tests.support.signers import Issuer, Signer, running_issuer
from tests.unit.serving.access.test_guard import write
from tests.unit.serving.test_app import ask, make_app


@pytest.fixture(scope="module")
def shared_issuer() -> Iterator[Issuer]:
    """An issuer whose keys stay as they are."""
    with running_issuer() as running:
        yield running


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """An issuer to play with."""
    with running_issuer() as running:
        yield running


def config_of(issuer: Issuer, **changes: Any) -> TokenConfig:
    config = TokenConfig(issuer=issuer.url, audience="flowers", keys=None, algorithms=["RS256", "ES256"], leeway_s=5)
    return config.model_copy(update=changes)


def find(issuer: Issuer, token: str, **changes: Any) -> Caller:
    return asyncio.run(TokenVerifier(config_of(issuer, **changes)).find(token))


def test_a_token_counts_for_what_its_claims_say(shared_issuer: Issuer) -> None:
    """Found through the issuer's discovery document; one of several audiences is enough."""
    signer, url = shared_issuer.signers[0], shared_issuer.url
    anyone = find(shared_issuer, signer.token(url, aud=["other", "flowers"]))
    assert (anyone.models, anyone.rate) == (None, None)
    both: frozenset[str] = frozenset({"roses", "tulips"})
    claims: list[tuple[Any, frozenset[str]]] = [(["roses", "tulips"], both), ("roses tulips", both)]
    for claim, models in (*claims, (None, frozenset()), (3, frozenset()), ({"a": 1}, frozenset())):
        assert find(shared_issuer, signer.token(url, models=claim), models_claim="models").models == models
    ann, ann_again, ben = (find(shared_issuer, signer.token(url, sub=who, jti=str(time.time()))) for who in "aab")
    assert (ann.identity == ann_again.identity, ann.identity == ben.identity) == (True, False)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"aud": "others"}, "bad-token"),
        ({"aud": None}, "bad-token"),
        ({"iss": "https://elsewhere.example.com"}, "bad-token"),
        ({"iss": None}, "bad-token"),
        ({"exp": None}, "bad-token"),
        ({"exp": "soon"}, "bad-token"),
        ({"exp": int(time.time()) - 10}, "expired-token"),
        ({"nbf": int(time.time()) + 1000}, "bad-token"),
        ({"x": "y" * 9000}, "bad-token"),
    ],
)
def test_a_token_for_others_or_another_time_does_not_count(
    shared_issuer: Issuer, claims: dict[str, Any], reason: str
) -> None:
    """However rightly it is signed."""
    with pytest.raises(RefusedError) as error:
        find(shared_issuer, shared_issuer.signers[0].token(shared_issuer.url, **claims))
    assert (error.value.status, error.value.reason) == (401, reason)


def test_clocks_may_differ_a_little(shared_issuer: Issuer) -> None:
    """Expired for less than the leeway is not expired."""
    token = shared_issuer.signers[0].token(shared_issuer.url, exp=int(time.time()) - 3)
    assert find(shared_issuer, token, leeway_s=60).models is None


def _part(content: dict[str, Any]) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=")


def test_signatures_cannot_be_left_out_or_made_with_what_is_public(shared_issuer: Issuer) -> None:
    """The classic forgeries: no algorithm, the public key as a shared secret, another's key, a changed claim."""
    signer, url = shared_issuer.signers[0], shared_issuer.url
    claims = {"iss": url, "aud": "flowers", "sub": "ann", "exp": int(time.time()) + 300}
    unsigned = jwt.encode(claims, "", "none", headers={"kid": "one"})
    public = signer.private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signed = _part({"alg": "HS256", "kid": "one"}) + b"." + _part(claims)
    digest = hmac.new(public, signed, hashlib.sha256).digest()
    confused = (signed + b"." + base64.urlsafe_b64encode(digest).rstrip(b"=")).decode()
    stranger = Signer("one").token(url)
    unknown = Signer("two").token(url)
    head, _, signature = signer.token(url).split(".")
    changed = ".".join((head, _part(claims | {"sub": "root"}).decode(), signature))
    for forged in (unsigned, confused, stranger, unknown, changed, "a.b.c", "x", signer.token(url)[:-4]):
        with pytest.raises(RefusedError) as error:
            find(shared_issuer, forged)
        assert error.value.status == 401


def test_only_listed_algorithms_count(shared_issuer: Issuer) -> None:
    """A right signature of another kind is refused."""
    with pytest.raises(RefusedError):
        find(shared_issuer, shared_issuer.signers[0].token(shared_issuer.url), algorithms=["RS256"])


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
def test_an_rsa_key_that_names_no_algorithm_is_good_for_each(tmp_path: Path, algorithm: str) -> None:
    """Of those the spec lists (RFC 7517: `alg` may be left out); one that names another stays with that."""
    private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = jwt.algorithms.RSAAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
    claims = {"iss": "https://login.example.com", "aud": "flowers", "exp": int(time.time()) + 300}
    token = jwt.encode(claims, private_key, algorithm, headers={"kid": "a"})

    def counts(*algorithms: str, **changes: Any) -> bool:
        place = tmp_path / "keys.json"
        place.write_text(json.dumps({"keys": [{**public, "kid": "a"} | changes]}))
        config = TokenConfig(
            issuer=claims["iss"], audience="flowers", keys=str(place), algorithms=list(algorithms), leeway_s=5
        )
        try:
            return asyncio.run(TokenVerifier(config).find(token)).models is None
        except RefusedError:
            return False

    other = "PS512" if algorithm == "RS256" else "RS256"
    assert counts(algorithm, "ES256")
    assert counts(algorithm, alg=algorithm)
    assert not counts(other, "ES256")
    assert not counts(algorithm, other, alg=other)


def test_a_refused_token_is_told_from_what_counts(shared_issuer: Issuer) -> None:
    """What it says and what is expected, where that is what is wrong; nothing of that under a false signature."""
    signer, url = shared_issuer.signers[0], shared_issuer.url

    def refusal(token: str, **changes: Any) -> str:
        with pytest.raises(RefusedError) as error:
            find(shared_issuer, token, **changes)
        return error.value.message

    assert f"iss: received '{url}/', expected '{url}'" in refusal(signer.token(url, iss=f"{url}/"))
    assert "aud: received ['a', 'b'], expected 'flowers'" in refusal(signer.token(url, aud=["a", "b"]))
    assert "alg: received 'ES256', expected RS256 or PS256" in refusal(signer.token(url), algorithms=["RS256", "PS256"])
    assert "flowers" not in refusal(Signer("one").token(url, aud="a"))


def test_keys_are_exchanged_without_a_restart(issuer: Issuer) -> None:
    """A token of a new key makes the keys be fetched; those of a key that is gone stop counting, remembered or not."""

    async def run() -> None:
        now = 0.0
        verifier = TokenVerifier(config_of(issuer))
        verifier.signers = SignerKeys(issuer.url, None, clock=lambda: now)
        first, second = issuer.signers[0], Signer("two")
        await verifier.find(first.token(issuer.url))
        issuer.signers = [second]
        with pytest.raises(RefusedError):
            await verifier.find(second.token(issuer.url))  # fetched a moment ago
        now = 11.0
        assert (await verifier.find(second.token(issuer.url))).models is None
        with pytest.raises(RefusedError):
            await verifier.find(first.token(issuer.url))

    asyncio.run(run())


def test_unknown_keys_do_not_make_us_fetch_without_end(issuer: Issuer) -> None:
    """A hundred forged tokens at once cost one fetch; right ones are checked once and then remembered."""

    async def run() -> None:
        verifier = TokenVerifier(config_of(issuer))
        forged = [verifier.find(Signer("x").token(issuer.url, jti=str(index))) for index in range(100)]
        assert all(isinstance(each, RefusedError) for each in await asyncio.gather(*forged, return_exceptions=True))
        assert issuer.fetches == 1
        token = issuer.signers[0].token(issuer.url)
        assert await verifier.find(token) is await verifier.find(token)

    asyncio.run(run())


def test_a_slow_issuer_is_asked_once_for_all_who_wait(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that needs longer than keys are kept from being fetched again: nobody waits for a second answer."""
    now, answer = 0.0, issuer.answer

    def slowly(path: str) -> tuple[int, dict[str, Any]]:
        nonlocal now
        now += 8.0
        return answer(path)

    monkeypatch.setattr(issuer, "answer", slowly)

    async def run() -> None:
        verifier = TokenVerifier(config_of(issuer))
        verifier.signers = SignerKeys(issuer.url, None, clock=lambda: now)
        forged = [verifier.find(Signer("x").token(issuer.url)) for _ in range(5)]
        assert all(isinstance(each, RefusedError) for each in await asyncio.gather(*forged, return_exceptions=True))

    asyncio.run(run())
    assert issuer.fetches == 1


def test_an_answer_that_never_ends_is_given_up(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """However steadily it drips."""
    monkeypatch.setattr(signers_module, "_LONGEST_FETCH_S", 0.0)
    with pytest.raises(SpecError, match="no whole answer within 0 seconds"):
        fetch_keys(issuer.url, None)


def test_a_remembered_token_still_expires(shared_issuer: Issuer) -> None:
    """It is checked anew once its time and the leeway are over."""

    async def run() -> None:
        now = time.time() - 3600
        verifier = TokenVerifier(config_of(shared_issuer), clock=lambda: now)
        token = shared_issuer.signers[0].token(shared_issuer.url)
        first = await verifier.find(token)
        now += 3600 + 304
        assert await verifier.find(token) is first
        now += 2
        assert await verifier.find(token) is not first

    asyncio.run(run())


def test_an_issuer_that_is_away_is_no_refusal_for_ever(issuer: Issuer) -> None:
    """503 with Retry-After for tokens of keys that could not be fetched; known keys go on counting."""

    async def run() -> None:
        now = 0.0
        signers = SignerKeys(issuer.url, None, clock=lambda: now)
        verifier = TokenVerifier(config_of(issuer))
        verifier.signers = signers
        token = issuer.signers[0].token(issuer.url)
        issuer.is_down = True
        with pytest.raises(RefusedError) as error:
            await verifier.find(token)
        assert (error.value.status, error.value.retry_after_s) == (503, 10)
        issuer.is_down, now = False, 20.0
        await verifier.find(token)
        issuer.is_down, now = True, 400.0
        await signers._refresh()
        assert (await verifier.find(issuer.signers[0].token(issuer.url, sub="ben"))).models is None
        newer = Signer("two")
        issuer.signers, now = [newer], 800.0
        with pytest.raises(RefusedError) as error:
            await verifier.find(newer.token(issuer.url))  # may be right: the client should keep it
        assert (error.value.status, error.value.retry_after_s) == (503, 10)
        issuer.is_down, now = False, 900.0
        await verifier.find(newer.token(issuer.url))
        with pytest.raises(RefusedError) as error:
            await verifier.find(Signer("nobody's").token(issuer.url))
        assert error.value.status == 401

    asyncio.run(run())


def test_wrong_places_of_keys_are_explained(issuer: Issuer, tmp_path: Path) -> None:
    """Nothing there, no keys there, another issuer's document; a file works as a URL does."""
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [issuer.signers[0].public()]}))
    assert set(fetch_keys(issuer.url, str(tmp_path / "keys.json"))) == {"one"}
    (tmp_path / "none.json").write_text("[]")
    (tmp_path / "text.json").write_text("hello")
    for place in (f"{issuer.url}/nowhere", str(tmp_path / "none.json"), str(tmp_path / "text.json"), "/nowhere"):
        with pytest.raises(SpecError, match=r"auth\.jwt"):
            fetch_keys(issuer.url, place)
    with pytest.raises(SpecError, match="issuer"):
        fetch_keys(issuer.url + "/", None)


def test_an_endpoint_takes_keys_and_tokens_side_by_side(
    issuer: Issuer, metrics: ServingMetrics, tmp_path: Path
) -> None:
    """Both in the same header; a refused token says so as the standard asks."""
    key, entry = new_key("ann")
    access = AccessConfig(keys_file=str(write(tmp_path, entry)), tokens=config_of(issuer))
    pool = WorkPool(threads=1)
    app = make_app(pool, metrics, tmp_path)
    app.guard = Guard(access, tmp_path / "rates")
    for right in (key, issuer.signers[0].token(issuer.url)):
        assert ask(app, picture_bytes(seed=1), headers={"authorization": f"Bearer {right}"})[0] == 200
    wrong = {"authorization": f"Bearer {Signer('x').token(issuer.url)}"}
    status, headers, _ = ask(app, b"", headers=wrong)
    assert (status, headers[b"www-authenticate"]) == (401, b'Bearer realm="e", error="invalid_token"')
    pool.close()
