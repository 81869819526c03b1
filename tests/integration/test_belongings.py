"""What others hung on a table or a view: a refresh and a publish keep it, or it is refused by name."""

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import sql

from shared.daily import arrival
from shared.daily.refresh import refresh
from shared.errors import RetryableError, TargetError
from shared.operate import decisions
from shared.operate.migrate import migrate
from shared.target import belongings
from tests.kit.drifting_tables import VIEW as DRIFTING_VIEW
from tests.kit.drifting_tables import Drift
from tests.kit.sessions import one, users
from tests.kit.snapshots import TABLE, bookings, day, publish, upload
from tests.kit.uploads import Upload, arrive

VIEW = "non_recommendable_items_mv"
LONG = "n" * 63

#: What readers of the catalogs see of a relation, apart from the names that change with each build.
SEEN = {
    "definition": "SELECT pg_get_indexdef(to_regclass('theirs'))",
    "statistics": "SELECT pg_get_statisticsobjdef(oid), stxstattarget FROM pg_statistic_ext WHERE stxname = 'theirs'",
    "column": """
        SELECT
            attname, attstattarget, attstorage, attcompression,
            array(SELECT option FROM unnest(attoptions) AS option WHERE option !~ '^pg_')
        FROM pg_attribute
        WHERE attrelid = '{0}'::regclass AND attnum > 0 ORDER BY attnum
    """,
    "index column": "SELECT attstattarget FROM pg_attribute WHERE attrelid = to_regclass('theirs')",
    "relation": """
        SELECT
            array(SELECT unnest(own.reloptions) ORDER BY 1), array(SELECT unnest(toast.reloptions) ORDER BY 1),
            own.relam, own.reltablespace
        FROM pg_class AS own LEFT JOIN pg_class AS toast ON own.reltoastrelid = toast.oid
        WHERE own.oid = '{0}'::regclass
    """,
    "indexes": """
        SELECT regexp_replace(relname, '^[0-9]{{8}}T[0-9]+', ''), indisclustered, reloptions, reltablespace
        FROM pg_index JOIN pg_class ON indexrelid = oid WHERE indrelid = '{0}'::regclass ORDER BY 1
    """,
    "comments": """
        SELECT description FROM pg_description
        WHERE objoid IN (
            SELECT '{0}'::regclass UNION SELECT indexrelid FROM pg_index WHERE indrelid = '{0}'::regclass
            UNION SELECT oid FROM pg_statistic_ext WHERE stxrelid = '{0}'::regclass
        )
        ORDER BY 1
    """,
}


def seen(database, relation=VIEW):
    return {what: database.execute(query.format(relation).encode()).fetchall() for what, query in SEEN.items()}


@pytest.fixture
def built(services):
    """A first publication of TABLE, and its view."""
    publish(services, 1, ["ann"])
    assert refresh(services, TABLE, 1) == "refreshed"


@pytest.fixture
def superuser(here):
    with psycopg.connect(here.cloud.postgres.dsn(here.name, "postgres"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def tablespace(here, superuser):
    """A tablespace that the loader may use."""
    name = f"fast_{here.name}"
    superuser.execute("SET allow_in_place_tablespaces = on")
    superuser.execute(f"CREATE TABLESPACE {name} LOCATION ''".encode())
    superuser.execute(f"GRANT CREATE ON TABLESPACE {name} TO recosync".encode())
    return name


# Of a view


OURS = f"(SELECT min(relname) FROM pg_class WHERE relname ~ '^[0-9].*{VIEW}_user_id$')"

HUNG_ON_A_VIEW = {
    "an index": "CREATE INDEX theirs ON {0} (item_id)",
    "a unique index of some rows with options": (
        "CREATE UNIQUE INDEX theirs ON {0} (user_id) INCLUDE (item_id) WITH (fillfactor = 70) WHERE user_id <> 'x'"
    ),
    "an index on an expression": "CREATE INDEX theirs ON {0} (lower(item_id) varchar_pattern_ops DESC)",
    "an index with the longest name": f'CREATE INDEX "{LONG}" ON {{0}} USING hash (item_id)',
    "an index like the template's": "CREATE INDEX theirs ON {0} (user_id)",
    "the statistics target of an index": (
        "CREATE INDEX theirs ON {0} (lower(item_id)); ALTER INDEX theirs ALTER 1 SET STATISTICS 7"
    ),
    "an option of the template's index": (
        f"DO $$ BEGIN EXECUTE format('ALTER INDEX %I SET (fillfactor = 50)', {OURS}); END $$"
    ),
    "a comment": "COMMENT ON MATERIALIZED VIEW {0} IS 'it''s {{}} 100 % \\'",
    "a comment on a column": "COMMENT ON COLUMN {0}.item_id IS 'theirs'",
    "a comment on an index": "CREATE INDEX theirs ON {0} (item_id); COMMENT ON INDEX theirs IS 'theirs'",
    "a comment on the template's index": (
        f"DO $$ BEGIN EXECUTE format('COMMENT ON INDEX %I IS ''theirs''', {OURS}); END $$"
    ),
    "a statistics target": "ALTER MATERIALIZED VIEW {0} ALTER item_id SET STATISTICS 7",
    "a number of distinct values": "ALTER MATERIALIZED VIEW {0} ALTER item_id SET (n_distinct = -0.5)",
    "statistics": "CREATE STATISTICS theirs (ndistinct, mcv) ON user_id, item_id FROM {0}",
    "statistics on an expression, their target and a comment": (
        "CREATE STATISTICS theirs ON (lower(user_id)) FROM {0}; ALTER STATISTICS theirs SET STATISTICS 7;"
        "COMMENT ON STATISTICS theirs IS 'theirs'"
    ),
    "storage options": (
        "ALTER MATERIALIZED VIEW {0} SET (fillfactor = 70, autovacuum_enabled = off, toast.vacuum_truncate = off)"
    ),
    "how a column is stored": "ALTER MATERIALIZED VIEW {0} ALTER item_id SET STORAGE EXTERNAL",
    "how a column is compressed": "ALTER MATERIALIZED VIEW {0} ALTER item_id SET COMPRESSION pglz",
    "what it is clustered by": "CREATE INDEX theirs ON {0} (item_id); ALTER MATERIALIZED VIEW {0} CLUSTER ON theirs",
}


@pytest.mark.usefixtures("built")
@pytest.mark.matrix
@pytest.mark.matrix
@pytest.mark.parametrize("hang", HUNG_ON_A_VIEW.values(), ids=HUNG_ON_A_VIEW)
def test_what_others_hung_on_a_view_is_there_after_each_refresh(services, database, hang):
    bare = seen(database)
    database.execute(hang.format(VIEW).encode())
    before = seen(database)
    assert before != bare
    for number, user in ((2, "bob"), (3, "cleo")):
        publish(services, number, [user])
        assert refresh(services, TABLE, number) == "refreshed"
        assert users(database, VIEW) == [user]
        assert seen(database) == before


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(
    "hang",
    [
        "ALTER MATERIALIZED VIEW {0} SET TABLESPACE {1}",
        "CREATE INDEX theirs ON {0} (item_id) TABLESPACE {1}",
        "ALTER MATERIALIZED VIEW {0} SET ACCESS METHOD theirs",
    ],
    ids=["its tablespace", "the tablespace of an index", "its access method"],
)
def test_where_a_view_is_stored_is_kept(services, database, superuser, tablespace, hang):
    superuser.execute("CREATE ACCESS METHOD theirs TYPE TABLE HANDLER heap_tableam_handler")
    database.execute(hang.format(VIEW, tablespace).encode())
    before = seen(database)
    publish(services, 2, ["bob"])
    assert refresh(services, TABLE, 2) == "refreshed"
    assert users(database, VIEW) == ["bob"]
    assert seen(database) == before


@pytest.mark.usefixtures("built")
def test_statistics_that_another_role_made_are_kept_under_another_name(services, database, superuser):
    superuser.execute(f"CREATE STATISTICS theirs ON user_id, item_id FROM {VIEW}".encode())
    for number in (2, 3):
        publish(services, number, ["bob"])
        assert refresh(services, TABLE, number) == "refreshed"
        found = one(database, f"SELECT count(*) FROM pg_statistic_ext WHERE stxrelid = '{VIEW}'::regclass")
        assert found == 1


@pytest.mark.usefixtures("built")
def test_what_is_taken_off_a_view_does_not_come_back(services, database):
    bare = seen(database)
    for hang in ("an index", "a comment", "statistics", "storage options", "how a column is stored"):
        database.execute(HUNG_ON_A_VIEW[hang].format(VIEW).encode())
    publish(services, 2, ["bob"])
    refresh(services, TABLE, 2)
    database.execute(f"DROP INDEX theirs; DROP STATISTICS theirs; COMMENT ON MATERIALIZED VIEW {VIEW} IS NULL".encode())
    database.execute(f"ALTER MATERIALIZED VIEW {VIEW} ALTER item_id SET STORAGE EXTENDED".encode())
    options = "fillfactor, autovacuum_enabled, toast.vacuum_truncate"
    database.execute(f"ALTER MATERIALIZED VIEW {VIEW} RESET ({options})".encode())
    publish(services, 3, ["cleo"])
    refresh(services, TABLE, 3)
    assert seen(database) == bare


@pytest.mark.usefixtures("built")
def test_an_index_of_a_template_before_goes_when_the_template_has_it_no_more(services, database):
    bare = seen(database)
    database.execute(f"CREATE INDEX idx_20250101T050000_of_the_job_before ON {VIEW} (lower(item_id))".encode())
    database.execute(f'CREATE INDEX "20250101T050000000000_of_a_build" ON {VIEW} (lower(item_id))'.encode())
    publish(services, 2, ["bob"])
    refresh(services, TABLE, 2)
    assert seen(database) == bare


@pytest.mark.usefixtures("built")
def test_a_unique_index_of_others_keeps_rows_from_the_readers_that_it_does_not_take(services, database):
    database.execute(f"CREATE UNIQUE INDEX theirs ON {VIEW} (coalesce(item_id, 'none'))".encode())
    publish(services, 2, ["bob", "cleo"])
    with pytest.raises(
        TargetError, match=f"{VIEW}: the index theirs can't be carried over to its new rows: UniqueViolation"
    ):
        refresh(services, TABLE, 2)
    assert users(database, VIEW) == ["ann"]
    assert "index theirs" in one(database, "SELECT message FROM recosync.failure")
    database.execute("DROP INDEX theirs")
    assert refresh(services, TABLE, 2) == "refreshed"


@pytest.mark.usefixtures("built")
def test_a_label_that_nobody_can_give_any_more_is_named(services, database, superuser):
    superuser.execute("SET allow_system_table_mods = on")
    superuser.execute(
        f"INSERT INTO pg_seclabel VALUES ('{VIEW}'::regclass, 'pg_class'::regclass, 0, 'theirs', 'secret')".encode()
    )
    publish(services, 2, ["bob"])
    with pytest.raises(TargetError, match=r'security label on it .*: security label provider "theirs" is not loaded'):
        refresh(services, TABLE, 2)
    assert users(database, VIEW) == ["ann"]


# Of a view whose columns change


@pytest.fixture
def drift(services, database, tmp_path):
    return Drift(services, database, tmp_path)


def test_it_is_kept_when_the_columns_of_the_table_change(drift):
    before, after = drift.of({"name": "varchar", "value": "integer"}), drift.of({"name": "text", "value": "bigint"})
    drift.publish(before, 1, name=["a", "b"], value=[1, 2])
    drift.refresh(before)
    drift.database.execute(f"CREATE INDEX theirs ON {DRIFTING_VIEW} (lower(name)) WHERE value > 0".encode())
    drift.database.execute(f"COMMENT ON COLUMN {DRIFTING_VIEW}.value IS 'theirs'".encode())
    drift.publish(after, 2, name=["a", "b"], value=[1, 2**40])
    assert drift.types(DRIFTING_VIEW)["value"] == "bigint"
    assert seen(drift.database, DRIFTING_VIEW)["comments"] == [("theirs",)]
    definition = one(drift.database, SEEN["definition"])
    assert definition == f"CREATE INDEX theirs ON public.{DRIFTING_VIEW} USING btree (lower(name)) WHERE (value > 0)"


@pytest.mark.parametrize(
    "hang",
    ["CREATE INDEX theirs ON {} (lower(name))", "CREATE STATISTICS theirs ON name, value FROM {}"],
    ids=["an index", "statistics"],
)
def test_a_column_that_others_use_can_not_leave_a_view(drift, hang):
    before = drift.of({"name": "varchar", "value": "integer"})
    drift.publish(before, 1, name=["a", "b"], value=[1, 2])
    drift.refresh(before)
    drift.database.execute(hang.format(DRIFTING_VIEW).encode())
    after = drift.of({"name": "varchar", "value": "integer"}, view="n, value")
    drift.publish(after, 2, name=["c", "d"], value=[3, 4])
    with pytest.raises(TargetError, match=r'theirs can.t be carried over .* column "name" does not exist'):
        drift.refresh(after)
    assert drift.rows(DRIFTING_VIEW) == [(0, "a", 1), (1, "b", 2)]


def test_what_goes_with_a_column_of_a_view_is_told(drift, caplog):
    before = drift.of({"name": "varchar", "value": "integer"})
    drift.publish(before, 1, name=["a", "b"], value=[1, 2])
    drift.refresh(before)
    drift.database.execute(f"COMMENT ON COLUMN {DRIFTING_VIEW}.name IS 'theirs'".encode())
    after = drift.of({"name": "varchar", "value": "integer"}, view="n, value")
    drift.publish(after, 2, name=["c", "d"], value=[3, 4])
    drift.refresh(after)
    (told,) = [record for record in caplog.records if "went with it" in record.getMessage()]
    assert (told.levelname, told.fields["what"]) == ("WARNING", ["comment on column name"])


def test_what_a_template_states_stands_before_what_others_changed(drift):
    services = drift.of({"name": "varchar"})
    template = drift.folder / "views" / f"{DRIFTING_VIEW}.sql.jinja"
    template.write_text(template.read_text().replace(" AS SELECT", " WITH (fillfactor = 80) AS SELECT"))
    drift.publish(services, 1, name=["a", "b"])
    drift.refresh(services)
    drift.database.execute(
        f"ALTER MATERIALIZED VIEW {DRIFTING_VIEW} SET (fillfactor = 70, parallel_workers = 3)".encode()
    )
    drift.publish(services, 2, name=["a", "b"])
    drift.refresh(services)
    options = "SELECT reloptions FROM pg_class WHERE relname = %s"
    assert sorted(one(drift.database, options, DRIFTING_VIEW)) == ["fillfactor=80", "parallel_workers=3"]


# Of a table


UNKEPT = {
    "a primary key": ("ALTER TABLE {0} ADD CONSTRAINT theirs PRIMARY KEY (user_id)", "primary key theirs"),
    "a unique constraint": ("ALTER TABLE {0} ADD CONSTRAINT theirs UNIQUE (user_id)", "unique constraint theirs"),
    "a unique index": ("CREATE UNIQUE INDEX theirs ON {0} (lower(user_id))", "unique index theirs"),
    "an exclusion": (
        "ALTER TABLE {0} ADD CONSTRAINT theirs EXCLUDE USING btree (user_id WITH =)",
        "exclusion constraint theirs",
    ),
    "a foreign key": (
        """CREATE TABLE other (id varchar PRIMARY KEY);
        ALTER TABLE {0} ADD CONSTRAINT theirs FOREIGN KEY (user_id) REFERENCES other""",
        "foreign key theirs",
    ),
    "a foreign key to it": (
        """ALTER TABLE {0} ADD CONSTRAINT ours UNIQUE (user_id);
        CREATE TABLE other (id varchar CONSTRAINT theirs REFERENCES {0} (user_id))""",
        "foreign key theirs of public.other",
    ),
    "a trigger": (
        """CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER theirs BEFORE INSERT ON {0} FOR EACH ROW EXECUTE FUNCTION noted()""",
        "trigger theirs",
    ),
    "a rule": ("CREATE RULE theirs AS ON INSERT TO {0} DO ALSO NOTIFY noted", "rule theirs"),
    "a publication": ("CREATE PUBLICATION theirs FOR TABLE {0}", "publication theirs"),
}


@pytest.mark.matrix
@pytest.mark.parametrize(("hang", "name"), UNKEPT.values(), ids=UNKEPT)
def test_what_parts_would_not_keep_is_refused_by_name_before_anything_is_staged(services, database, hang, name):
    publish(services, 1, ["ann"])
    database.execute(hang.format(TABLE).encode())
    doubled = upload(services, 2, ["bob"], ["bob"])
    with pytest.raises(TargetError, match=name) as refused:
        arrive(services, doubled.manifest())
    assert users(database) == ["ann"]
    assert one(database, "SELECT count(*) FROM recosync.part") == 1
    assert name in one(database, "SELECT message FROM recosync.failure")
    with pytest.raises(TargetError, match=name):
        migrate(services)
    for statement in refused.value.remedy.split(". Instead")[0].split("; "):
        database.execute(statement.encode())
    publish(services, 3, ["cleo"])
    assert users(database) == ["cleo"]


def test_one_that_came_after_the_stage_is_refused_by_the_publish(services, database):
    publish(services, 1, ["ann"])
    snapshot = Upload(services, TABLE, day(2))
    assert arrive(services, snapshot.part(bookings(services, ["bob", "bob"]))) == ["staged"]
    database.execute(f"ALTER TABLE {TABLE} ADD PRIMARY KEY (user_id)".encode())
    with pytest.raises(TargetError, match=f"primary key {TABLE}_pkey"):
        arrive(services, snapshot.manifest())
    assert users(database) == ["ann"]


def children(database):
    query = """
        SELECT 'recosync.' || relname FROM pg_inherits JOIN pg_class ON inhrelid = oid
        WHERE inhparent = %s::regclass ORDER BY oid
    """
    return [name for (name,) in database.execute(query, [TABLE])]


def indexes(database, relation):
    query = "SELECT substring(pg_get_indexdef(indexrelid) FROM 'USING.*') FROM pg_index WHERE indrelid = %s::regclass"
    return [definition for (definition,) in database.execute(query, [relation])]


def test_an_index_of_a_table_is_made_on_each_part_that_readers_read(services, database):
    publish(services, 1, ["ann"])
    publish(services, 2, ["bob"])
    database.execute(f"CREATE INDEX theirs ON {TABLE} (lower(user_id)) WITH (fillfactor = 70)".encode())
    definition = "USING btree (lower((user_id)::text)) WITH (fillfactor='70')"
    publish(services, 3, ["cleo"], ["dan"])
    assert [indexes(database, part) for part in children(database)] == [[definition]] * 2
    # A part from before the index gets it on the way back.
    decisions.rollback(services, TABLE, day(1), "test")
    assert users(database) == ["ann"]
    assert [indexes(database, part) for part in children(database)] == [[definition]]
    decisions.rollback(services, TABLE, day(3), "test")
    assert [indexes(database, part) for part in children(database)] == [[definition]] * 2
    database.execute("DROP INDEX theirs")
    decisions.unpin(services, TABLE, "test")
    publish(services, 4, ["eve"])
    assert [indexes(database, part) for part in children(database)] == [[]]


def test_a_part_that_was_staged_before_an_index_came_gets_it_before_it_is_published(services, database):
    publish(services, 1, ["ann"])
    snapshot = Upload(services, TABLE, day(2))
    assert arrive(services, snapshot.part(bookings(services, ["bob"]))) == ["staged"]
    database.execute(f"CREATE INDEX theirs ON {TABLE} (item_id)".encode())
    assert arrive(services, snapshot.manifest()) == ["published"]
    assert [indexes(database, part) for part in children(database)] == [["USING btree (item_id)"]]


HUNG_ON_A_TABLE = {
    "a statistics target": "ALTER TABLE {0} ALTER user_id SET STATISTICS 7",
    "a number of distinct values": "ALTER TABLE {0} ALTER user_id SET (n_distinct = 5)",
    "how a column is stored": "ALTER TABLE {0} ALTER item_id SET STORAGE EXTERNAL",
    "how a column is compressed": "ALTER TABLE {0} ALTER item_id SET COMPRESSION pglz",
}


@pytest.mark.matrix
@pytest.mark.parametrize("hang", HUNG_ON_A_TABLE.values(), ids=HUNG_ON_A_TABLE)
def test_what_others_said_of_a_column_is_so_in_each_part(services, database, hang):
    publish(services, 1, ["ann"])
    database.execute(hang.format(TABLE).encode())
    publish(services, 2, ["bob"])
    (part,) = children(database)
    assert seen(database, part)["column"] == seen(database, TABLE)["column"]


def test_statistics_of_a_table_are_made_of_each_part(services, database, superuser):
    publish(services, 1, ["ann"])
    database.execute(f"CREATE STATISTICS theirs (mcv) ON user_id, item_id FROM {TABLE}".encode())
    publish(services, 2, ["bob"] * 20)
    (part,) = children(database)
    query = """
        SELECT stxkeys::text, stxkind::text, stxdmcv IS NOT NULL
        FROM pg_statistic_ext JOIN pg_statistic_ext_data ON oid = stxoid WHERE stxrelid = %s::regclass
    """
    assert superuser.execute(query, [part]).fetchall() == [("1 2", "{m}", True)]


def test_a_part_is_stored_where_and_as_its_table_is(services, database, superuser, tablespace):
    publish(services, 1, ["ann"])
    superuser.execute("CREATE ACCESS METHOD theirs TYPE TABLE HANDLER heap_tableam_handler")
    statement = sql.SQL("ALTER TABLE {} SET TABLESPACE {}").format(sql.Identifier(TABLE), sql.Identifier(tablespace))
    database.execute(statement)
    database.execute(f"ALTER TABLE {TABLE} SET ACCESS METHOD theirs".encode())
    options = "fillfactor = 70, parallel_workers = 3, autovacuum_enabled = on, toast.autovacuum_enabled = on"
    database.execute(f"ALTER TABLE {TABLE} SET ({options})".encode())
    publish(services, 2, ["bob"])
    assert users(database) == ["bob"]
    (part,) = children(database)
    ((own, toast, *where),) = seen(database, part)["relation"]
    assert own == ["autovacuum_enabled=false", "fillfactor=70", "parallel_workers=3"]
    assert toast == ["autovacuum_enabled=false"]
    assert where == list(seen(database, TABLE)["relation"][0][2:])


def test_an_index_of_rows_that_were_there_before_the_first_publish_comes_back_with_them(services, database):
    database.execute(f"CREATE TABLE {TABLE} (user_id varchar, item_id varchar)".encode())
    database.execute(f"CREATE INDEX theirs ON {TABLE} (user_id); INSERT INTO {TABLE} VALUES ('old', 'x')".encode())
    publish(services, 1, ["ann"])
    decisions.rollback(services, TABLE, None, "test")
    assert users(database) == ["old"]
    assert [indexes(database, part) for part in children(database)] == [["USING btree (user_id)"]]


def test_workers_at_one_snapshot_give_its_parts_an_index_once(services, database, monkeypatch):
    """Whoever completes the set publishes, and several may see it complete."""
    publish(services, 1, ["ann"])
    snapshot = Upload(services, TABLE, day(2))
    assert arrive(services, snapshot.part(bookings(services, ["bob"]))) == ["staged"]
    database.execute(f"CREATE INDEX theirs ON {TABLE} (item_id)")
    manifest, give = snapshot.manifest(), belongings.give

    def slowly(*given):
        time.sleep(0.5)
        give(*given)

    def handle(_):
        try:
            return arrival.handle(services, manifest, 1)
        except RetryableError:
            return "to be repeated"

    monkeypatch.setattr(belongings, "give", slowly)
    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(handle, range(3))) <= {"published", "repeated", "to be repeated"}
    assert one(database, "SELECT count(*) FROM recosync.failure") == 0
    assert arrive(services, manifest) == ["repeated"]


@pytest.mark.parametrize(
    "hang",
    [
        "CREATE STATISTICS theirs ON extra, user_id FROM {0}; ALTER STATISTICS theirs SET STATISTICS 7",
        "CREATE INDEX theirs ON {0} (lower(extra)); ALTER INDEX theirs ALTER 1 SET STATISTICS 7",
        "CREATE INDEX theirs ON {0} (extra); COMMENT ON INDEX theirs IS 'theirs'",
    ],
    ids=["statistics", "an index", "a comment"],
)
def test_what_hangs_on_a_column_that_others_added_holds_up_no_part(services, database, hang):
    publish(services, 1, ["ann"])
    database.execute(f"ALTER TABLE {TABLE} ADD extra text; {hang.format(TABLE)}".encode())
    for number in (2, 3):
        publish(services, number, ["bob"])
    assert users(database) == ["bob"]


def test_what_a_function_in_an_index_says_of_a_row_is_not_told(services, database):
    publish(services, 1, ["ann"])
    database.execute(
        "CREATE FUNCTION chosen(varchar) RETURNS varchar IMMUTABLE LANGUAGE plpgsql AS"
        " $$ BEGIN IF $1 = 'hunter2' THEN RAISE 'bad value %', $1; END IF; RETURN $1; END $$"
    )
    database.execute(f"CREATE INDEX theirs ON {TABLE} (chosen(user_id))")
    with pytest.raises(TargetError, match=r"index theirs can't be carried over.*P0001") as refused:
        publish(services, 2, ["hunter2"])
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in one(database, "SELECT message FROM recosync.failure")


def test_a_publication_of_the_whole_schema_is_named_too(services, database, superuser):
    publish(services, 1, ["ann"])
    superuser.execute("CREATE PUBLICATION theirs FOR TABLES IN SCHEMA public")
    with pytest.raises(TargetError, match=r"publication theirs.*DROP TABLES IN SCHEMA public"):
        publish(services, 2, ["bob"])
    superuser.execute("ALTER PUBLICATION theirs DROP TABLES IN SCHEMA public")
    publish(services, 3, ["bob"])
