"""A database without the extension of a type that the catalog has: it is named, with the command, before anything is
made, and what waited for it goes on once it is there.
"""

from __future__ import annotations

from contextlib import contextmanager

import pyarrow as pa
import pytest
from psycopg import sql

from shared.errors import ConfigurationError
from shared.operate.migrate import migrate
from tests.kit.typed_tables import TABLE, numbered, place
from tests.kit.uploads import arrive

COLUMNS = {"vector": ("embedding", "vector(2)"), "postgis": ("place", "geometry")}


@pytest.fixture(scope="module")
def project(cloud, tmp_path_factory):
    with place(cloud, "extensions", tmp_path_factory.mktemp("catalog")) as found:
        yield found


@contextmanager
def absent(cloud, extension):
    """The project's database without the extension, as far as the server has it."""
    with cloud.postgres.superuser("extensions") as admin:
        admin.execute(sql.SQL("DROP EXTENSION IF EXISTS {} CASCADE").format(sql.Identifier(extension)))
        yield admin


@pytest.mark.parametrize("extension", COLUMNS)
def test_an_absent_extension_is_named_with_what_to_do_and_by_whom(cloud, project, extension):
    project.empty()
    column, type_ = COLUMNS[extension]
    upload = project.upload({"n": "bigint", column: type_})
    values = pa.array([None], pa.list_(pa.float64()) if extension == "vector" else pa.binary())
    part, manifest = upload.part(numbered(**{column: values})), upload.manifest(source_rows=1)
    told = rf"public\.typed: the database does not have the extension {extension}, for {column} \(.*\)\."
    told += rf" CREATE EXTENSION {extension} there, as a superuser, or an administrator such as Cloud SQL's postgres"
    with absent(cloud, extension) as admin:
        for use in (lambda: migrate(upload.services), lambda: arrive(upload.services, part)):
            with pytest.raises(ConfigurationError, match=told):
                use()
        assert project.database.execute("SELECT to_regclass(%s)", [TABLE]).fetchone() == (None,)
        if admin.execute("SELECT FROM pg_available_extensions WHERE name = %s", [extension]).fetchone() is None:
            return
        admin.execute(sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(extension)))
    assert arrive(upload.services, part, manifest) == ["staged", "published"]
