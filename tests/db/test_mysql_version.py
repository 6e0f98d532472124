"""Which servers are new enough, by what they say of themselves."""

import pytest

from app_kernel.core.errors import Unavailable
from app_kernel.db.drivers.mysql_connection import check_version


@pytest.mark.parametrize(
    ("said", "is_mariadb"),
    [
        ("5.5.5-10.11.6-MariaDB-0+deb12u1", True),
        ("10.6.0-MariaDB", True),
        ("11.4.2-MariaDB-log", True),
        ("8.0.19", False),
        ("8.0.36-0ubuntu0.22.04.1", False),
        ("8.4.0", False),
        ("9.1.0-commercial", False),
    ],
)
def test_a_server_that_is_new_enough_is_told_from_the_other_kind(said: str, is_mariadb: bool) -> None:
    assert check_version(said) is is_mariadb


@pytest.mark.parametrize(
    ("said", "needed"), [("5.7.44-log", "MySQL 8.0.19"), ("8.0.18", "MySQL 8.0.19"), ("10.5.9-MariaDB", "MariaDB 10.6")]
)
def test_one_that_is_older_is_refused_by_name(said: str, needed: str) -> None:
    with pytest.raises(Unavailable, match=needed):
        check_version(said)
