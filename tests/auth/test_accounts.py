import pytest

from app_kernel import FEATURES, Feature, ServiceConfig, create_service
from app_kernel.auth import (
    activate_user,
    create_user,
    deactivate_user,
    delete_user,
    find_user,
    get_user,
    list_users,
    set_password,
    set_role,
    store,
    verify_password,
)
from app_kernel.core.errors import (
    AccountError,
    AccountExists,
    AccountNotFound,
    InvalidEmail,
    InvalidUsername,
    WeakPassword,
)
from app_kernel.core.events import UserDeleted, UserRegistered
from app_kernel.core.ports import Accounts
from app_kernel.db import connect
from tests.auth.serving import EMAIL, PASSWORD, SECRET

PRODUCTION = ServiceConfig(environment="production")


@pytest.fixture
async def db(tmp_path):
    """A database that no service has opened yet."""
    async with connect(f"sqlite:///{tmp_path}/script.db") as handle:
        yield handle


async def test_a_script_makes_accounts_in_a_database_without_a_service(db):
    user = await create_user(db, "Ada@Example.com", PASSWORD, role="admin", name="Ada", username="Ada")
    assert (user.email, user.role, user.is_active) == (EMAIL, "admin", True)
    assert await get_user(db, user.id) == user
    assert await find_user(db, " ADA ") == await find_user(db, "ADA@example.com") == user
    assert await list_users(db) == [user]
    for taken in ({"email": "ada@EXAMPLE.com"}, {"email": "other@example.com", "username": "ADA"}):
        with pytest.raises(AccountExists):
            await create_user(db, taken["email"], PASSWORD, username=taken.get("username"))


async def test_the_database_itself_refuses_a_second_account_of_one_email(db):
    await create_user(db, EMAIL, PASSWORD)
    with pytest.raises(AccountExists):
        await store.insert_user(db, {"email": EMAIL})


async def test_no_history_keeps_old_password_hashes(db):
    user = await create_user(db, EMAIL, PASSWORD)
    old = (await store.get_user_row(db, user.id))["password_hash"]
    await set_password(db, user.id, "river stone under moon")
    tables = [row["name"] for row in await db.execute("SELECT name FROM sqlite_master")]
    assert "kernel_users" in tables
    assert not [name for name in tables if name.startswith("kernel_") and name.endswith("_history")]
    new = (await store.get_user_row(db, user.id))["password_hash"]
    assert verify_password("river stone under moon", new)
    assert not verify_password(PASSWORD, new)
    assert old != new


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"email": "nobody"}, InvalidEmail),
        ({"username": "a b"}, InvalidUsername),
        ({"password": "short"}, WeakPassword),
        ({"role": ""}, AccountError),
        ({"role": "a\nb"}, AccountError),
        ({"name": "x" * 201}, AccountError),
        ({"password": "password1", "config": PRODUCTION}, WeakPassword),
        ({"email": "ada@shop.test", "config": PRODUCTION}, InvalidEmail),
    ],
)
async def test_an_account_that_cannot_be_made_as_asked_is_refused(db, values, error):
    with pytest.raises(error):
        await create_user(db, **{"email": EMAIL, "password": PASSWORD, **values})
    assert await list_users(db) == []


async def test_role_and_activity_change_by_id(db):
    user = await create_user(db, EMAIL, PASSWORD)
    assert (await set_role(db, user.id, "auditor")).role == "auditor"
    assert not (await deactivate_user(db, user.id)).is_active
    assert (await activate_user(db, user.id)).is_active
    for change in (
        set_role(db, "unknown", "admin"),
        deactivate_user(db, "unknown"),
        set_password(db, "unknown", PASSWORD),
    ):
        with pytest.raises(AccountNotFound):
            await change
    with pytest.raises(AccountError):
        await set_role(db, user.id, "not a role")
    assert await get_user(db, "unknown") is None
    assert await find_user(db, "unknown@example.com") is None


async def test_a_listener_that_fails_refuses_what_it_is_a_part_of(tmp_path):
    def fail(kernel, event):
        raise RuntimeError("listener")

    listener = Feature(name="probe", listeners={UserRegistered: fail, UserDeleted: fail})
    config = ServiceConfig(jwt_secret=SECRET, database_name=f"{tmp_path}/app.db")
    app = create_service("refused", config=config, features=[*FEATURES, listener])
    async with app.router.lifespan_context(app):
        db = app.state.kernel.db.connection()
        with pytest.raises(RuntimeError, match="listener"):
            await create_user(db, EMAIL, PASSWORD)
        assert await find_user(db, EMAIL) is None
    app = create_service("refused", config=config)
    async with app.router.lifespan_context(app):
        user = await create_user(app.state.kernel.db.connection(), EMAIL, PASSWORD)
    app = create_service("refused", config=config, features=[*FEATURES, listener])
    async with app.router.lifespan_context(app):
        db = app.state.kernel.db.connection()
        with pytest.raises(RuntimeError, match="listener"):
            await delete_user(db, user.id)
        assert await find_user(db, EMAIL) == user


async def test_the_first_admin_comes_from_db_seed_under_the_rules_of_the_service(tmp_path):
    heard = []

    async def seed(db):
        if await find_user(db, EMAIL) is None:
            await create_user(db, EMAIL, PASSWORD, role="admin")
        with pytest.raises(WeakPassword):
            await create_user(db, "eve@example.com", "k" * 19)

    config = ServiceConfig(jwt_secret=SECRET, database_name=f"{tmp_path}/app.db", password_min_length=20)
    listener = Feature(name="probe", listeners={UserRegistered: lambda kernel, event: heard.append(event)})
    for _ in range(2):
        app = create_service("seeded", config=config, features=[*FEATURES, listener], db_seed=seed)
        async with app.router.lifespan_context(app):
            kernel = app.state.kernel
            user = await find_user(kernel.db.connection(), EMAIL)
            assert user is not None
            assert await kernel.port(Accounts).get_user(kernel.db.connection(), user.id) == user
    assert heard == [UserRegistered(user.id, EMAIL, "admin")]
