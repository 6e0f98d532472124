import pytest

from app_kernel import ServiceConfig, create_service
from app_kernel.auth import store
from tests.auth.serving import EMAIL, PASSWORD, serving


async def test_signing_up_answers_with_tokens_and_the_account(service):
    answer = await service.call(
        "POST",
        "/auth/register",
        json={"email": " Ada@Example.com", "password": PASSWORD, "name": " Ada ", "username": "Ada.L"},
    )
    assert answer.status_code == 201
    body = answer.json()
    assert set(body) == {"access_token", "refresh_token", "token_type", "expires_in", "user"}
    assert (body["token_type"], body["expires_in"]) == ("bearer", 86_400)
    user = body["user"]
    assert set(user) == {"id", "email", "username", "name", "role", "is_active", "email_verified", "created_at"}
    assert (user["email"], user["username"], user["name"], user["role"], user["is_active"]) == (
        EMAIL,
        "ada.l",
        "Ada",
        "user",
        True,
    )
    assert (await service.call("GET", "/auth/me", body["access_token"])).json() == user


@pytest.mark.parametrize(
    "names",
    [
        {"email": EMAIL},
        {"username": "ada"},
        {"username": "ADA"},
        {"username": EMAIL},
        {"email": EMAIL, "username": None},
    ],
)
async def test_an_account_signs_in_by_email_or_username(service, names):
    await service.sign_up(username="ada")
    answer = await service.call("POST", "/auth/login", json={**names, "password": PASSWORD})
    assert answer.status_code == 200
    assert answer.json()["user"]["email"] == EMAIL


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"password": PASSWORD},
        {"email": EMAIL},
        {"email": EMAIL, "username": "ada", "password": PASSWORD},
        {"email": EMAIL, "password": None},
        {"email": EMAIL, "password": 12345678},
        {"email": EMAIL, "password": ""},
        {"email": [EMAIL], "password": PASSWORD},
        {"email": "a\x00@example.com", "password": PASSWORD},
        [],
        "text",
        None,
    ],
)
async def test_a_login_that_does_not_validate_is_422_and_repeats_nothing(service, body):
    answer = await service.call("POST", "/auth/login", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert PASSWORD not in answer.text


async def test_the_authorize_button_of_the_documentation_works(service):
    await service.sign_up()
    document = service.app.openapi()
    scheme = document["components"]["securitySchemes"]["user"]
    assert scheme["flows"]["password"]["tokenUrl"] == "auth/token"
    form = {
        "grant_type": "password",
        "username": EMAIL,
        "password": PASSWORD,
        "scope": "",
        "client_id": "",
        "client_secret": "",
    }
    answer = await service.call("POST", "/auth/token", data=form)
    assert answer.status_code == 200
    assert await service.accepts(answer.json()["access_token"])
    other = await service.call("POST", "/auth/token", data={**form, "grant_type": "client_credentials"})
    assert (other.status_code, other.json()["error"]) == (400, "unsupported_grant_type")


async def test_the_form_without_a_password_is_422(service):
    assert (await service.call("POST", "/auth/token", data={"username": EMAIL})).status_code == 422
    assert (
        await service.call("POST", "/auth/token", json={"username": EMAIL, "password": PASSWORD})
    ).status_code == 422


async def test_no_answer_with_tokens_or_personal_data_is_stored_by_a_cache(service):
    user = await service.sign_up()
    answers = [
        await service.sign_in(),
        await service.call("POST", "/auth/token", data={"username": EMAIL, "password": PASSWORD}),
        await service.call("POST", "/auth/token", data={"username": EMAIL, "password": "wrong"}),
        await service.call("POST", "/auth/refresh", json={"refresh_token": user["refresh_token"]}),
        await service.call("GET", "/auth/me", user["access_token"]),
        await service.call("GET", "/auth/sessions", user["access_token"]),
        await service.call("POST", "/auth/register", json={"email": "eve@example.com", "password": PASSWORD}),
    ]
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}


async def test_a_profile_changes_by_what_is_given(service):
    token = (await service.sign_up(name="Ada", username="ada"))["access_token"]

    async def patch(**body):
        answer = await service.call("PATCH", "/auth/me", token, json=body)
        return answer.status_code, (answer.json().get("name"), answer.json().get("username"))

    assert await patch() == (200, ("Ada", "ada"))
    assert await patch(name="Ada Lovelace") == (200, ("Ada Lovelace", "ada"))
    assert await patch(username="Countess") == (200, ("Ada Lovelace", "countess"))
    assert await patch(name=None, username=None) == (200, (None, None))
    assert await patch(name="  ") == (200, (None, None))
    assert (await patch(username="no good"))[0] == 422
    assert (await patch(name="line\nbreak"))[0] == 422
    assert (await patch(name="x" * 201))[0] == 422
    await service.sign_up("eve@example.com", username="eve")
    assert (await patch(username="EVE"))[0] == 409


async def test_accounts_without_a_username_do_not_collide(service):
    users = [await service.sign_up(f"user{n}@example.com") for n in range(3)]
    assert [user["user"]["username"] for user in users] == [None] * 3


async def test_every_route_needs_a_token_unless_it_gives_one(service):
    open_routes = {
        "/auth/register",
        "/auth/login",
        "/auth/token",
        "/auth/refresh",
        "/auth/forgot-password",
        "/auth/reset-password",
        "/auth/verify-email",
        "/auth/resend-verification",
    }
    for path, operations in service.app.openapi()["paths"].items():
        for method, operation in operations.items():
            if path.startswith("/auth"):
                assert ("security" in operation) == (path not in open_routes), path
                assert operation["summary"]
                assert "429" in operation["responses"] or path not in (
                    "/auth/login",
                    "/auth/token",
                    "/auth/change-password",
                )
            if path.startswith("/auth") and path not in open_routes:
                assert "401" in operation["responses"], path
                answer = await service.call(method.upper(), path.format(id="x"), json={})
                assert answer.status_code == 401, path
                assert answer.headers["www-authenticate"] == "Bearer"
                bad = await service.call(method.upper(), path.format(id="x"), "nonsense", json={})
                assert bad.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_the_wrong_current_password_changes_nothing(service):
    user = await service.sign_up()
    body = {"current_password": "wrong guess", "new_password": "river stone under moon"}
    answer = await service.call("POST", "/auth/change-password", user["access_token"], json=body)
    assert (answer.status_code, answer.json()["detail"]) == (403, "The current password is wrong.")
    assert (await service.sign_in()).status_code == 200


@pytest.mark.parametrize("id", ["%00", "%ED%A0%80", "%FF", "x" * 3000, "..%2f..", "%27%20OR%201=1", "0", "-1"])
async def test_any_text_is_no_session(service, id):
    token = (await service.sign_up())["access_token"]
    assert (await service.call("DELETE", f"/auth/sessions/{id}", token)).status_code in (404, 422)


async def test_without_auth_there_are_no_routes_and_nobody_is_signed_in(tmp_path):
    async with serving(tmp_path / "app.db", auth_enabled=False, jwt_secret=None) as service:
        assert (await service.call("POST", "/auth/login", json={})).status_code == 404
        assert not [path for path in service.app.openapi()["paths"] if path.startswith("/auth")]


async def test_routes_follow_the_prefix_of_the_service(tmp_path):
    config = ServiceConfig(jwt_secret="x" * 40, allow_self_signup=True, database_name=str(tmp_path / "app.db"))
    app = create_service("prefixed", config=config, api_prefix="/api")
    assert "/api/auth/login" in app.openapi()["paths"]


async def test_sessions_that_ended_long_ago_are_removed(service):
    user = await service.sign_up()
    row = (await service.db.privileged.find_entities("kernel_sessions"))[0]
    long_ago = row["expires_at"].replace(year=row["expires_at"].year - 2)
    await service.db.privileged.save_entity("kernel_sessions", {"id": row["id"], "expires_at": long_ago})
    await service.sign_in()
    rows = await service.db.privileged.find_entities("kernel_sessions")
    assert [old["id"] for old in rows] != [row["id"]]
    assert len(rows) == 1
    assert await store.get_session(service.db, row["id"]) is None
    assert user["user"]["id"] == rows[0]["user_id"]
