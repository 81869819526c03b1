"""Refresh: the views that read a published table are rebuilt beside the live ones and swapped all at once."""

import re
import threading
import time
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import psycopg
import pyarrow as pa
import pytest

from shared.daily import build as building
from shared.daily import live, swap_views
from shared.daily.refresh import refresh
from shared.db.locks import Lock
from shared.errors import BusyError, ConfigurationError, PermanentError, TargetError
from shared.target import views
from tests.kit.background import Background, wait_for
from tests.kit.sessions import held, one, users
from tests.kit.snapshots import TABLE, day, publish, publish_rows
from tests.kit.workers import worker

VIEW = "non_recommendable_items_mv"
COLUMNS = ("user_id", "item_id")
OFFERS = "recommendable_offers_raw"

# What the views should hold


def test_enriched_user_mv_holds_every_column(services, database):
    at = datetime(2026, 1, 2, 3, 4, 5, 678_901, UTC)
    values = {"user_id": ["ann", "bob"], "user_birth_date": [at, None], "user_deposit_initial_amount": [300.5, None]}
    publish_rows(services, 1, "enriched_user", {**values, "booking_cnt": [7, None]})
    refresh(services, "enriched_user", 1)
    assert database.execute("SELECT * FROM enriched_user_mv ORDER BY 1").fetchall() == [
        ("ann", None, at.replace(tzinfo=None), 300.5, None, 7, None, None),
        ("bob", *[None] * 7),
    ]


def test_non_recommendable_items_mv_holds_each_booking_once(services, database):
    bookings = [("ann", "a"), ("ann", "a"), ("ann", "b"), ("bob", "a"), ("bob", None)]
    user, item = zip(*bookings, strict=True)
    publish_rows(services, 1, TABLE, {"user_id": user, "item_id": item})
    refresh(services, TABLE, 1)
    found = database.execute(f"SELECT user_id, item_id FROM {VIEW}").fetchall()
    assert sorted(found, key=repr) == sorted(set(bookings), key=repr)


def test_iris_france_mv_holds_numbers_and_geographies_and_0_for_corsica(services, database):
    codes = ["751010101", "2A0040101", "010010000", None]
    shape = "POLYGON((0 0,1 0,1 1,0 0))"
    publish_rows(
        services,
        1,
        "iris_france",
        {
            "id": ["1", "2", "3", "4"],
            "irisCode": codes,
            "centroid": pa.array(["POINT(2.5 48.5)"] * 3 + [None]),
            "shape": pa.array([shape] * 3 + [None]),
        },
    )
    refresh(services, "iris_france", 1)
    query = """
        SELECT id, iriscode, st_astext(centroid), st_srid(centroid::geometry), st_astext(shape), st_srid(shape)
        FROM iris_france_mv ORDER BY id
    """
    expected = [
        (n, int(code) if code and code.isdigit() else 0, "POINT(2.5 48.5)", 4326, shape, 0)
        for n, code in enumerate(codes[:3], 1)
    ]
    assert database.execute(query).fetchall() == [*expected, (4, 0, *[None] * 4)]
    query = (
        "SELECT format('%s %s', pg_typeof(id), pg_typeof(iriscode)), pg_typeof(centroid)::text, pg_typeof(shape)::text"
    )
    types = database.execute(f"{query} FROM iris_france_mv LIMIT 1").fetchone()
    assert types == ("integer integer", "geography", "geometry")


OFFER_COLUMNS = (
    "offer_id",
    "item_id",
    "booking_number",
    "is_sensitive",
    "is_geolocated",
    "venue_latitude",
    "venue_longitude",
)
OFFER_ROWS = [
    ("o1", "i1", 5, False, True, Decimal("48.5"), Decimal("2.25")),
    ("o1", "i2", None, True, True, Decimal("50.5"), Decimal("4.25")),
    ("o2", "i3", None, None, True, None, None),
    ("o3", "i4", 9, False, True, Decimal("-21.125"), Decimal("55.5")),
    ("o4", "i5", 1, False, False, None, None),
    ("o5", "i6", 2, False, None, Decimal(1), Decimal(2)),
    ("o6", "i7", 2, None, True, Decimal(1), Decimal(2)),
]


@pytest.fixture
def offers(services):
    columns = dict(zip(OFFER_COLUMNS, zip(*OFFER_ROWS, strict=True), strict=True))
    publish_rows(services, 1, OFFERS, {**columns, "unique_id": [f"u{n}" for n in range(len(OFFER_ROWS))]})
    assert refresh(services, OFFERS, 1) == "refreshed"


@pytest.mark.usefixtures("offers")
def test_item_ids_mv_holds_one_row_per_offer(database):
    by_offer = defaultdict(list)
    for offer, *row in OFFER_ROWS:
        by_offer[offer].append(row)

    def over(call, values):
        present = [value for value in values if value is not None]
        return call(present) if present else None

    def mean(values):
        return sum(values) / len(values)

    expected = [
        (
            offer,
            over(max, items),
            over(max, counts),
            over(any, sensitive),
            over(mean, latitudes),
            over(mean, longitudes),
        )
        for offer, rows in by_offer.items()
        for items, counts, sensitive, _, latitudes, longitudes in [list(zip(*rows, strict=True))]
    ]
    columns = "offer_id, item_id, booking_number, is_sensitive, venue_latitude, venue_longitude"
    assert database.execute(f"SELECT {columns} FROM item_ids_mv ORDER BY 1").fetchall() == expected


@pytest.mark.usefixtures("offers")
def test_recommendable_offers_raw_mv_holds_offers_with_a_place_that_are_not_sensitive(database):
    query = """
        SELECT offer_id, item_id, booking_number, st_x(venue_geo::geometry), st_y(venue_geo::geometry),
            st_srid(venue_geo::geometry), pg_typeof(venue_geo)::text
        FROM recommendable_offers_raw_mv ORDER BY 1, 2
    """
    assert database.execute(query).fetchall() == [
        (offer, item, count, float(longitude), float(latitude), 4326, "geography")
        for offer, item, count, sensitive, geolocated, latitude, longitude in OFFER_ROWS
        if geolocated and sensitive is False
    ]


BEYOND = [(90.5, 2.0), (-91.0, 2.0), (48.0, 180.5), (48.0, -1000.0)]


def left_out(caplog):
    told = [record.fields for record in caplog.records if "leaves something out" in record.getMessage()]
    return {fields["what"]: fields["rows"] for fields in told}


def test_a_venue_beyond_the_globe_has_no_geography_and_is_told(services, database, caplog):
    places = [*BEYOND, (90.0, -180.0), (48.0, None)]
    latitudes, longitudes = zip(*places, strict=True)
    same = {"offer_id": ["o"] * 6, "item_id": ["i"] * 6, "is_geolocated": [True] * 6, "is_sensitive": [False] * 6}
    numbers = [[None if n is None else Decimal(n) for n in column] for column in (latitudes, longitudes)]
    columns = {**same, "venue_latitude": numbers[0], "venue_longitude": numbers[1], "unique_id": list("abcdef")}
    publish_rows(services, 1, OFFERS, columns)
    refresh(services, OFFERS, 1)
    query = "SELECT venue_latitude, st_astext(venue_geo) FROM recommendable_offers_raw_mv ORDER BY unique_id"
    found = database.execute(query).fetchall()
    assert [place for _, place in found] == [None, None, None, None, "POINT(-180 90)", None]
    assert [latitude for latitude, _ in found] == list(latitudes)
    assert left_out(caplog) == {"venues beyond the globe": 4}


def test_a_zone_that_is_not_in_degrees_has_no_place_and_is_told(services, database, caplog):
    points = ["SRID=2154;POINT(2 48)", "SRID=4326;POINT(2 48)", "POINT(2 48)", "POINT(1000 48)", "POINT EMPTY"]
    wkb = [one(database, f"SELECT st_asewkb('{point}'::geometry)") for point in points]
    zones = {"id": list("12345"), "irisCode": ["1"] * 5, "centroid": pa.array(wkb), "shape": pa.array(wkb)}
    publish_rows(services, 1, "iris_france", zones)
    refresh(services, "iris_france", 1)
    found = database.execute("SELECT st_astext(centroid), st_astext(shape) FROM iris_france_mv ORDER BY id").fetchall()
    assert found == [
        (None, None),
        ("POINT(2 48)", "POINT(2 48)"),
        ("POINT(2 48)", "POINT(2 48)"),
        (None, "POINT(1000 48)"),
        ("POINT EMPTY", "POINT EMPTY"),
    ]
    assert left_out(caplog) == {"zones without a centroid on the globe": 2, "zones without a shape in degrees": 1}


INDEXES = {
    "enriched_user_mv": {"UNIQUE btree (user_id)"},
    "item_ids_mv": {"UNIQUE btree (offer_id)"},
    VIEW: {"UNIQUE btree (user_id, item_id)", "btree (user_id)", "btree (item_id)"},
    "iris_france_mv": {"UNIQUE btree (id)", "gist (centroid)", "gist (shape)"},
    "recommendable_offers_raw_mv": {
        "UNIQUE btree (item_id, offer_id, unique_id)", "btree (offer_id)", "btree (item_id)", "btree (venue_id)",
        "btree (item_id, venue_id)", "gist (venue_geo)",
    },
}  # fmt: skip


def test_the_live_views_have_their_indexes_and_are_filled_vacuumed_and_analyzed(services, database):
    for table in services.catalog.tables:
        publish_rows(services, 1, table, {services.catalog.tables[table].columns[0].name: ["1"]})
        for _ in range(2):
            refresh(services, table, 1)
    found = defaultdict(set)
    for view, definition in database.execute("SELECT tablename, indexdef FROM pg_indexes WHERE tablename ~ '_mv$'"):
        unique, how = re.fullmatch(r"CREATE (UNIQUE )?INDEX \S+ ON \S+ USING (.*)", definition).groups(default="")
        found[view].add(unique + how)
    assert found == INDEXES
    query = """
        SELECT relname FROM pg_class JOIN pg_matviews ON matviewname = relname
        WHERE ispopulated AND relallvisible = relpages AND reltuples >= 0
    """
    assert {name for (name,) in database.execute(query)} == INDEXES.keys()


# When they are rebuilt


def snapshot_of(database, view=VIEW):
    """The snapshot that the live view is said to hold."""
    build = "SELECT publication FROM recosync.view_build WHERE view_name = %s ORDER BY publication DESC LIMIT 1"
    return one(database, f"SELECT snapshot_id FROM recosync.publication WHERE publication = ({build})", view)


def identity(database, view=VIEW):
    """What a rebuild would change."""
    return one(database, "SELECT relfilenode FROM pg_class WHERE relname = %s", view)


@pytest.fixture
def built(services):
    """A first publication of TABLE, and its view."""
    publish(services, 1, ["ann"])
    assert refresh(services, TABLE, 1) == "refreshed"


@pytest.mark.usefixtures("built")
def test_a_repeated_or_late_message_rebuilds_nothing(services, database):
    publish(services, 2, ["bob"])
    refresh(services, TABLE, 2)
    before = identity(database)
    assert [refresh(services, TABLE, number) for number in (2, 1)] == ["fresh", "fresh"]
    assert identity(database) == before


@pytest.mark.usefixtures("built")
def test_a_view_that_somebody_dropped_is_rebuilt_though_nothing_new_was_published(services, database):
    database.execute(f"DROP MATERIALIZED VIEW {VIEW}")
    assert refresh(services, TABLE, 1) == "refreshed"
    assert users(database, VIEW) == ["ann"]


@pytest.mark.usefixtures("built")
def test_a_message_of_an_older_publication_brings_the_newest(services, database):
    publish(services, 2, ["bob"])
    publish(services, 3, ["cleo"])
    assert [refresh(services, TABLE, number) for number in (2, 3)] == ["refreshed", "fresh"]
    assert users(database, VIEW) == ["cleo"]
    assert snapshot_of(database) == str(day(3))


@pytest.mark.usefixtures("built")
def test_a_message_about_what_the_ledger_does_not_know_is_kept_for_the_database_that_does(services, database):
    with pytest.raises(ConfigurationError, match=f"{TABLE}: publication {10**15} of it is unknown here"):
        refresh(services, TABLE, 10**15)
    assert one(database, "SELECT count(*) FROM recosync.failure") == 0


def test_both_views_of_a_table_are_swapped_in_one_transaction(here, services, database):
    def publish_offers(number):
        values = {"booking_number": [number] * 3, "is_sensitive": [False] * 3, "is_geolocated": [True] * 3}
        publish_rows(services, number, OFFERS, {**values, "offer_id": ["a", "b", "c"], "unique_id": ["a", "b", "c"]})
        refresh(services, OFFERS, number)

    def read():
        query = """
            SELECT items.booking_number, offers.booking_number
            FROM item_ids_mv AS items FULL JOIN recommendable_offers_raw_mv AS offers USING (offer_id)
        """
        seen = []
        with psycopg.connect(here.cloud.postgres.dsn(here.name, "api"), autocommit=True) as api:
            while not seen or seen[-1][0] != (8, 8):
                seen.append(api.execute(query).fetchall())
                time.sleep(0.001)  # the refresh needs the processor too
        return seen

    publish_offers(1)
    reader = Background(read)
    for number in range(2, 9):
        publish_offers(number)
    seen = reader.result()
    assert all(rows == [(number, number)] * 3 for rows in seen for number in [rows[0][0]])
    assert len({rows[0] for rows in seen}) > 4


@pytest.mark.usefixtures("built")
def test_grants_survive_a_rebuild_and_so_does_their_absence(here, services, database):
    database.execute(f"GRANT SELECT ON {VIEW} TO PUBLIC")
    database.execute(f"REVOKE ALL ON {VIEW} FROM api")
    database.execute(f"GRANT SELECT ON {VIEW} TO pg_monitor WITH GRANT OPTION")
    rights = "SELECT array_agg(r::text ORDER BY 1) FROM unnest((SELECT relacl FROM pg_class WHERE relname = %s)) AS r"
    before = one(database, rights, VIEW)
    publish(services, 2, ["bob"])
    refresh(services, TABLE, 2)
    assert users(database, VIEW) == ["bob"]
    assert one(database, rights, VIEW) == before


@pytest.mark.usefixtures("built")
def test_a_grant_of_one_column_survives_a_rebuild(services, database):
    database.execute(f"REVOKE ALL ON {VIEW} FROM api; GRANT SELECT (user_id) ON {VIEW} TO api")
    publish(services, 2, ["bob"])
    refresh(services, TABLE, 2)
    rights = [one(database, f"SELECT has_column_privilege('api', '{VIEW}', '{c}', 'SELECT')") for c in COLUMNS]
    assert rights == [True, False]


@pytest.mark.usefixtures("built")
def test_a_view_keeps_its_owner_where_the_loader_may_act_for_it(here, services, database):
    owner = f"owner_{here.name}"
    with psycopg.connect(here.cloud.postgres.dsn(here.name, "postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {owner} ROLE recosync; GRANT CREATE ON SCHEMA public TO {owner}")
        admin.execute(f"ALTER MATERIALIZED VIEW {VIEW} OWNER TO {owner}")
    publish(services, 2, ["bob"])
    assert refresh(services, TABLE, 2) == "refreshed"
    assert users(database, VIEW) == ["bob"]
    assert one(database, "SELECT matviewowner FROM pg_matviews WHERE matviewname = %s", VIEW) == owner


# What stands in the way


DEPENDANTS = {
    "a view": "CREATE VIEW public.mine AS SELECT user_id FROM {}",
    "a materialized view": "CREATE MATERIALIZED VIEW public.mine AS SELECT user_id FROM {}",
    "a function": "CREATE FUNCTION public.mine() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM {}; END",
    "a function that gives its rows": "CREATE FUNCTION public.mine() RETURNS SETOF {} LANGUAGE plpgsql AS 'BEGIN END'",
    "a column of its rows": "CREATE TABLE public.mine (kept {})",
    "a column of arrays of its rows": "CREATE TABLE public.mine (kept {}[])",
}


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("dependant", DEPENDANTS.values(), ids=DEPENDANTS)
def test_a_view_on_which_foreign_objects_depend_is_left_as_it_is_and_they_are_named(services, database, dependant):
    database.execute(dependant.format(VIEW))
    publish(services, 2, ["bob"])
    with pytest.raises(TargetError, match="mine"):
        refresh(services, TABLE, 2)
    assert users(database, VIEW) == ["ann"]
    assert nothing_is_left(database)
    assert "mine" in one(database, "SELECT message FROM recosync.failure")


def nothing_is_left(database):
    known = [*INDEXES, "mine"]
    builds = one(database, "SELECT count(*) FROM pg_class WHERE relkind = 'm' AND relname <> ALL (%s)", known)
    return (builds, one(database, "SELECT count(*) FROM recosync.building")) == (0, 0)


@pytest.mark.usefixtures("built")
def test_a_view_that_another_role_owns_is_left_as_it_is(here, services, database):
    with psycopg.connect(here.cloud.postgres.dsn(here.name, "postgres"), autocommit=True) as admin:
        admin.execute("ALTER SCHEMA public OWNER TO postgres")
        admin.execute("GRANT ALL ON SCHEMA public TO recosync")
        admin.execute(f"ALTER MATERIALIZED VIEW {VIEW} OWNER TO postgres")
    publish(services, 2, ["bob"])
    before = identity(database)
    with pytest.raises(ConfigurationError, match="GRANT that role TO the loader's role") as refused:
        refresh(services, TABLE, 2)
    assert isinstance(refused.value.__cause__, psycopg.errors.InsufficientPrivilege)  # each version has its own words
    assert identity(database) == before
    assert nothing_is_left(database)


CREATE = f"CREATE MATERIALIZED VIEW {{{{ view | identifier }}}} AS SELECT user_id, item_id FROM {TABLE};"
FAILING = {
    "no SQL": (CREATE.replace("SELECT", "SELEKT"), "syntax error"),
    "a missing column": (CREATE.replace("item_id", "strange"), "strange"),
    "an error in a row": (CREATE.replace("item_id", "user_id::integer AS n"), "22P02"),
    "duplicate keys": (CREATE + "CREATE UNIQUE INDEX ON {{ view | identifier }} (user_id)", "23505"),
    "an index on nothing": (CREATE + "CREATE INDEX ON {{ view | identifier }} (strange)", "strange"),
    "another name": (CREATE.replace("{{ view | identifier }}", "strange_mv"), "does not create"),
    "a name cut off": (CREATE + f'CREATE INDEX "{"n" * 64}" ON {{{{ view | identifier }}}} (user_id)', "63 bytes"),
}


def with_template(services, tmp_path, text, view=VIEW):
    file = tmp_path / f"{view}.sql.jinja"
    file.write_text(text)
    changed = replace(services.catalog.views[view], template=file)
    return replace(services, catalog=replace(services.catalog, views={**services.catalog.views, view: changed}))


@pytest.mark.usefixtures("built")
@pytest.mark.matrix
@pytest.mark.parametrize(("template", "named"), FAILING.values(), ids=FAILING)
def test_a_template_that_fails_leaves_the_old_view_and_nothing_behind(services, database, tmp_path, template, named):
    publish(services, 2, ["bob", "bob"])
    before = identity(database)
    with pytest.raises(PermanentError, match=named):
        refresh(with_template(services, tmp_path, template), TABLE, 2)
    assert identity(database) == before
    assert nothing_is_left(database)
    assert one(database, "SELECT table_name FROM recosync.failure") == TABLE
    assert refresh(services, TABLE, 2) == "refreshed"


@pytest.mark.parametrize("found", ["(SELECT word FROM lookup)", "inner_one($1)", "$1::mood"])
def test_a_function_that_finds_its_names_by_luck_is_told_where_postgresql_no_longer_finds_them(
    services, database, tmp_path, found
):
    """Since PostgreSQL 17, REFRESH has functions find nothing but what they name with its schema."""
    database.execute("CREATE TYPE public.mood AS ENUM ('bob'); CREATE TABLE public.lookup AS SELECT 'ann' AS word")
    database.execute("CREATE FUNCTION public.inner_one(text) RETURNS text RETURN $1")
    database.execute(
        f"CREATE FUNCTION public.theirs(text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN {found}; END'"
    )
    publish(services, 1, ["bob"])
    calling = with_template(services, tmp_path, CREATE.replace("user_id", "theirs(user_id) AS user_id"))
    if database.info.server_version >= 170_000:
        with pytest.raises(ConfigurationError, match=r"does not exist\..*ALTER FUNCTION … SET search_path"):
            refresh(calling, TABLE, 1)
        assert one(database, "SELECT count(*) FROM recosync.failure") == 0
        database.execute("ALTER FUNCTION public.theirs SET search_path = public")
    assert refresh(calling, TABLE, 1) == "refreshed"


def test_a_view_that_fails_keeps_the_other_views_of_its_table_from_being_swapped(services, database, tmp_path):
    publish_rows(services, 1, OFFERS, {"offer_id": ["a"]})
    refresh(services, OFFERS, 1)
    before = identity(database, "recommendable_offers_raw_mv")
    publish_rows(services, 2, OFFERS, {"offer_id": ["b"]})
    with pytest.raises(PermanentError):
        refresh(with_template(services, tmp_path, CREATE.replace("item_id", "strange"), "item_ids_mv"), OFFERS, 2)
    assert identity(database, "recommendable_offers_raw_mv") == before
    assert nothing_is_left(database)


# What happens meanwhile

BRAKE = Lock("the brake of a test")
SLOW_FILL = CREATE.replace("user_id", "public.brake(user_id) AS user_id")
SLOW_INDEX = CREATE + "CREATE INDEX ON {{ view | identifier }} (public.brake(user_id))"


@pytest.fixture
def brake(here, database):
    """Templates with public.brake() wait while this is held; gives the function that lets it go."""
    database.execute(f"""
        CREATE FUNCTION public.brake(value text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
            WHILE NOT pg_try_advisory_xact_lock_shared({BRAKE.key}) LOOP PERFORM pg_sleep(0.01); END LOOP;
            RETURN value;
        END $$
    """)
    with held(here.dsn, BRAKE) as let_go:
        yield lambda: let_go(BRAKE)


def braked(database):
    """How many statements wait at the brake."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query ~ %s"
    return one(database, query, "^(REFRESH MATERIALIZED VIEW|CREATE INDEX)")


#: Whether the server has let go of every worker.
ENDED = "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name ~ '^recosync'"

REFRESH = """
from dataclasses import replace
from pathlib import Path
from shared.daily import refresh
view = services.catalog.views[sys.argv[1]]
slow = {view.name: replace(view, template=Path(sys.argv[2]))}
refresh.refresh(replace(services, catalog=replace(services.catalog, views=slow)), sys.argv[3], 2)
"""


@pytest.mark.usefixtures("built", "brake")
@pytest.mark.parametrize("template", [SLOW_FILL, SLOW_INDEX], ids=["while it fills", "while it indexes"])
def test_a_killed_build_leaves_the_live_view_and_is_cleared_by_the_next(here, services, database, tmp_path, template):
    publish(services, 2, ["bob"])
    file = tmp_path / "slow.sql.jinja"
    file.write_text(template)
    with worker(here.env, REFRESH, VIEW, file, TABLE) as process:
        wait_for(lambda: braked(database))
        process.kill()
    assert users(database, VIEW) == ["ann"]
    # The server notices that its client is gone, whatever the statement is busy with.
    wait_for(lambda: one(database, ENDED))
    assert refresh(services, TABLE, 2) == "refreshed"
    assert users(database, VIEW) == ["bob"]
    assert nothing_is_left(database)


@pytest.mark.usefixtures("built")
def test_of_two_refreshes_of_a_view_one_works_and_the_other_is_to_be_delivered_again(
    services, database, tmp_path, brake
):
    publish(services, 2, ["bob"])
    services = with_template(services, tmp_path, SLOW_FILL)
    first = Background(lambda: refresh(services, TABLE, 2))
    wait_for(lambda: braked(database))
    with pytest.raises(BusyError):
        refresh(services, TABLE, 2)
    brake()
    assert first.result() == "refreshed"
    assert refresh(services, TABLE, 2) == "fresh"


@pytest.mark.usefixtures("built")
def test_a_view_says_what_it_holds_though_a_publish_comes_while_it_is_built(here, services, database, tmp_path, brake):
    publish(services, 2, ["bob"])
    building = Background(lambda: refresh(with_template(services, tmp_path, SLOW_FILL), TABLE, 2))
    wait_for(lambda: braked(database))
    publishing = Background(lambda: publish(services, 3, ["cleo"]))
    wait_for(lambda: one(database, "SELECT true FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
    assert users(database) == ["bob"]
    brake()
    assert building.result() == "refreshed"
    publishing.result()
    assert users(database, VIEW) == ["bob"]
    assert snapshot_of(database) == str(day(2))
    assert refresh(services, TABLE, 3) == "refreshed"
    assert users(database, VIEW) == ["cleo"]


@pytest.mark.usefixtures("built")
def test_an_object_that_comes_to_depend_on_a_view_while_it_is_rebuilt_is_named(services, database, tmp_path, brake):
    publish(services, 2, ["bob"])
    building = Background(lambda: refresh(with_template(services, tmp_path, SLOW_FILL), TABLE, 2))
    wait_for(lambda: braked(database))
    database.execute(DEPENDANTS["a view"].format(VIEW))
    brake()
    with pytest.raises(TargetError, match="mine"):
        building.result()
    assert users(database, "public.mine") == ["ann"]
    assert nothing_is_left(database)


@pytest.mark.usefixtures("built")
def test_what_others_change_on_a_view_while_it_is_rebuilt_is_so_afterwards(services, database, tmp_path, brake):
    database.execute(f"CREATE INDEX going ON {VIEW} (item_id); CREATE INDEX changing ON {VIEW} (item_id)")
    database.execute(f"COMMENT ON MATERIALIZED VIEW {VIEW} IS 'going'; COMMENT ON INDEX changing IS 'staying'")
    publish(services, 2, ["bob"])
    slow = with_template(services, tmp_path, SLOW_INDEX)
    building = Background(lambda: refresh(slow, TABLE, 2))
    wait_for(lambda: braked(database))
    database.execute(f"DROP INDEX going; COMMENT ON MATERIALIZED VIEW {VIEW} IS NULL")
    database.execute("ALTER INDEX changing SET (fillfactor = 70)")
    database.execute(f"CREATE INDEX coming ON {VIEW} (lower(item_id)); COMMENT ON COLUMN {VIEW}.item_id IS 'coming'")
    brake()
    assert building.result() == "refreshed"
    assert users(database, VIEW) == ["bob"]
    query = """
        SELECT relname, reloptions, obj_description(oid, 'pg_class') FROM pg_index JOIN pg_class ON indexrelid = oid
        WHERE indrelid = %s::regclass AND relname !~ '^[0-9]{8}T' ORDER BY 1
    """
    found = database.execute(query, [VIEW]).fetchall()
    assert found == [("changing", ["fillfactor=70"], "staying"), ("coming", None, None)]
    assert one(database, f"SELECT obj_description('{VIEW}'::regclass, 'pg_class')") is None
    assert one(database, f"SELECT col_description('{VIEW}'::regclass, 2)") == "coming"
    assert one(database, "SELECT count(*) FROM pg_class WHERE relname ~ '_kept_'") == 0


@pytest.mark.usefixtures("built")
def test_what_others_are_hanging_on_a_view_during_the_swap_survives_it(here, services, database):
    publish(services, 2, ["bob"])
    with psycopg.connect(here.dsn) as dba:
        dba.execute(f"CREATE STATISTICS theirs ON user_id, item_id FROM {VIEW}; COMMENT ON STATISTICS theirs IS 'x'")
        refreshing_ = Background(lambda: refresh(services, TABLE, 2))
        wait_for(
            lambda: one(database, f"SELECT true FROM pg_locks WHERE relation = '{VIEW}'::regclass AND NOT granted")
        )
    assert refreshing_.result() == "refreshed"
    assert users(database, VIEW) == ["bob"]
    query = "SELECT stxrelid::regclass::text, obj_description(oid) FROM pg_statistic_ext WHERE stxname = 'theirs'"
    assert database.execute(query).fetchall() == [(VIEW, "x")]


def test_no_more_views_are_built_at_once_than_the_limit_says(services, database, tmp_path, brake, monkeypatch):
    """And none gives up because its own siblings take long."""
    monkeypatch.setattr(building, "SLOT_PATIENCE", 0.5)
    publish_rows(services, 1, OFFERS, {"offer_id": ["a"]})
    slow = services
    for view in ("item_ids_mv", "recommendable_offers_raw_mv"):
        template = CREATE.replace("user_id", "public.brake(offer_id) AS user_id").replace(TABLE, OFFERS)
        slow = with_template(slow, tmp_path, template, view)
    refreshing_ = Background(lambda: refresh(replace(slow, settings=replace(slow.settings, max_builds=1)), OFFERS, 1))
    wait_for(lambda: braked(database))
    time.sleep(1)
    assert braked(database) == 1
    brake()
    assert refreshing_.result() == "refreshed"


def test_a_refresh_without_a_place_to_build_in_is_to_be_delivered_again(here, services, monkeypatch):
    monkeypatch.setattr(building, "SLOT_PATIENCE", 1)
    publish(services, 1, ["ann"])
    with held(here.dsn, Lock.build(0), Lock.build(1)) as let_go:
        with pytest.raises(BusyError, match="2 other views"):
            refresh(services, TABLE, 1)
        let_go(Lock.build(1))
        assert refresh(services, TABLE, 1) == "refreshed"


@pytest.mark.usefixtures("built")
def test_a_grant_that_is_being_made_during_the_swap_survives_it(here, services, database):
    publish(services, 2, ["bob"])
    with psycopg.connect(here.dsn) as dba:
        dba.execute(f"GRANT SELECT ON {VIEW} TO PUBLIC")
        refreshing_ = Background(lambda: refresh(services, TABLE, 2))
        # For the end of that transaction, or since PostgreSQL 18, in which a GRANT holds the view, for the view.
        wait_for(lambda: one(database, "SELECT true FROM pg_locks WHERE NOT granted"))
    assert refreshing_.result() == "refreshed"
    assert one(
        database,
        f"SELECT count(*) FROM pg_class, aclexplode(relacl) AS acl WHERE oid = '{VIEW}'::regclass AND acl.grantee = 0",
    )


@pytest.mark.usefixtures("built")
def test_a_grant_that_nobody_commits_is_waited_for_and_then_left_to_a_retry(here, services, database, monkeypatch):
    publish(services, 2, ["bob"])
    monkeypatch.setattr(swap_views, "READERS_PATIENCE", 1)
    with psycopg.connect(here.dsn) as dba:
        dba.execute(f"GRANT SELECT ON {VIEW} TO PUBLIC")
        with pytest.raises(BusyError):
            refresh(services, TABLE, 2)
        assert users(database, VIEW) == ["ann"]
        dba.rollback()
    assert nothing_is_left(database)
    assert refresh(services, TABLE, 2) == "refreshed"


@pytest.mark.usefixtures("built")
def test_a_reader_that_stays_keeps_the_old_view_and_stalls_no_others(here, services, database, monkeypatch):
    publish(services, 2, ["bob"])
    monkeypatch.setattr(views, "has_old_readers", lambda *_: False)  # it comes after the look
    monkeypatch.setattr(swap_views, "READERS_PATIENCE", 1)
    seen = 0
    with psycopg.connect(here.dsn) as long:
        assert users(long, VIEW) == ["ann"]
        refreshing_ = Background(lambda: refresh(services, TABLE, 2))
        while refreshing_.running:
            assert users(database, VIEW) == ["ann"]
            seen += 1
        with pytest.raises(BusyError, match="readers"):
            refreshing_.result()
    assert seen > 50
    assert nothing_is_left(database)
    assert refresh(services, TABLE, 2) == "refreshed"


@pytest.mark.usefixtures("built")
def test_a_view_whose_readers_would_outlast_the_swap_is_not_even_built(here, services, tmp_path, monkeypatch):
    monkeypatch.setattr(swap_views, "READERS_PATIENCE", 0)
    publish(services, 2, ["bob"])
    with psycopg.connect(here.cloud.postgres.dsn(here.name, "api")) as long:
        assert users(long, VIEW) == ["ann"]
        with pytest.raises(BusyError, match="a transaction older than 0 s reads it"):
            refresh(with_template(services, tmp_path, FAILING["no SQL"][0]), TABLE, 2)
    assert refresh(services, TABLE, 2) == "refreshed"


FREEZE = """
import os, signal
from shared.daily import live, refresh
live.check = lambda *_: os.kill(os.getpid(), signal.SIGSTOP)
refresh.refresh(services, sys.argv[1], 2)
"""


@pytest.mark.usefixtures("built")
def test_a_worker_that_freezes_in_its_swap_lets_the_readers_and_the_next_worker_go_on(here, services, database):
    publish(services, 2, ["bob"])
    locked = f"SELECT granted FROM pg_locks WHERE relation = '{VIEW}'::regclass AND mode = 'AccessExclusiveLock'"
    with worker(here.env, FREEZE, TABLE):
        wait_for(lambda: one(database, locked))
        database.execute("SET statement_timeout = '30s'")
        assert users(database, VIEW) == ["ann"]
        wait_for(lambda: one(database, ENDED))
        assert refresh(services, TABLE, 2) == "refreshed"
    assert users(database, VIEW) == ["bob"]
    assert nothing_is_left(database)


def test_a_build_waits_for_a_change_of_the_live_view_that_is_under_way(here, services, database, monkeypatch):
    publish(services, 1, ["ann"])
    refresh(services, TABLE, 1)
    publish(services, 2, ["bob"])
    pass_on, before = live.pass_on, [True]

    def beside(*given):
        if not before or not before.pop():
            return pass_on(*given)
        held = threading.Event()

        def change():
            with psycopg.connect(here.dsn) as other:
                other.execute(f"ALTER MATERIALIZED VIEW {VIEW} ALTER user_id SET STORAGE EXTERNAL")
                held.set()
                other.execute("SELECT pg_sleep(0.5)")

        changing = Background(change)
        held.wait()
        passed = pass_on(*given)
        changing.result()
        return passed

    with monkeypatch.context() as patch:
        patch.setattr(live, "pass_on", beside)
        assert refresh(services, TABLE, 1) == "refreshed"
    assert users(database, VIEW) == ["bob"]
