"""The database's roles of a run, as psql makes them."""

from __future__ import annotations

import os
import subprocess

from local import ROOT
from local.prerequisites import postgres_bin
from tests.kit import deployed_database
from tests.kit.sessions import one


def test_the_administrator_makes_them_with_the_runs_passwords(here, services):
    api = f"{here.name}_made_api"
    words = {f"RECOSYNC_E2E_{role}_PASSWORD": f"{role} it's \\ me" for role in ("LOADER", "STATUS")}
    with deployed_database.made(here, services) as made:
        names = {"loader": made.loader, "status": f"{made.name}_status", "api": api}
        variables = {**names, "deploy": ROOT / "sql" / "deploy" / "database.sql", "ON_ERROR_STOP": 1}
        subprocess.run(
            [
                postgres_bin() / "psql",
                *("-X", made.dsn("administrator"), f"--file={ROOT / 'tests' / 'e2e' / 'project' / 'roles.sql'}"),
                *(f"--set={name}={value}" for name, value in variables.items()),
            ],
            env=os.environ | words,
            check=True,
        )
        with made.here.cloud.postgres.superuser(made.name) as admin:
            query = "SELECT rolpassword LIKE 'SCRAM-SHA-256$%%' AND rolcanlogin FROM pg_authid WHERE rolname = %s"
            assert all(admin.execute(query, [names[role]]).fetchone() == (True,) for role in ("loader", "status"))
            assert one(admin, f"SELECT has_database_privilege('{made.loader}', '{made.name}', 'CREATE')")
    with here.cloud.postgres.superuser("postgres") as admin:
        admin.execute(f"DROP ROLE {api}")
