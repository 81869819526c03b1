-- name: print_schemas
-- Until print_as_before, in the same transaction, the server prints each name with its schema.
SELECT
    set_config('recosync.path_before', current_setting('search_path'), true),
    set_config('search_path', 'pg_catalog, pg_temp', true);

-- name: print_as_before
SELECT set_config('search_path', current_setting('recosync.path_before'), true);

-- name: of
-- What others hung on a relation, each with the statement that gives it to its heir (a build of the view, a part of
-- the table), and the one that takes it from that again. An index and a statistics object get names that begin with
-- the prefix, because a name is unique in its schema, and `rename` gives the heir's the name that the other one had.
-- Of a relation that is its own heir: what it has itself.
--
-- A template's indexes have the stamp of their build in their names; the heir has its own, told by the rest of it.
-- `statement` is NULL where the heir has nothing that it could hang on: what `goes` does so with its columns, as a
-- grant does. `fits`: the heir has the columns. `token` is the same for what the relation and its heir both have: the
-- text of an index or a statistics object depends on the types of columns, so there it is the name, which says what it
-- was made of. A kind that is to be kept is one more branch here.
WITH ends AS (
    SELECT
        relation.*,
        heir.oid AS heir,
        relation.oid = heir.oid AS itself,
        heir_home.nspname AS heir_schema,
        CASE relation.relkind WHEN 'm' THEN 'MATERIALIZED VIEW ' ELSE 'TABLE ' END || %(heir)s AS object,
        'ALTER TABLE ' || %(heir)s || ' ' AS alter_heir
    FROM pg_class AS relation
    CROSS JOIN pg_class AS heir
    INNER JOIN pg_namespace AS heir_home ON heir.relnamespace = heir_home.oid
    WHERE relation.oid = to_regclass(%(relation)s) AND heir.oid = to_regclass(%(heir)s)
),

fields AS (
    SELECT
        field.*,
        'column ' || field.attname AS what,
        '{}'::text[] || field.attname::text AS columns,
        'COLUMN ' || %(heir)s || '.' || quote_ident(field.attname) AS object,
        ends.alter_heir || 'ALTER ' || quote_ident(field.attname) || ' ' AS alter_heir
    FROM ends
    INNER JOIN pg_attribute AS field ON ends.oid = field.attrelid
    WHERE field.attnum > 0 AND NOT field.attisdropped
),

defined_indexes AS (
    SELECT
        own.*,
        ends.heir,
        ends.itself,
        entry.indisclustered,
        quote_ident(ends.heir_schema) || '.' AS schema,
        ends.relkind = 'm' AND own.relname ~ '\d{8}[Tt]\d{6}' AND own.relname !~ '_kept_[0-9a-f]{12}$' AS of_template,
        'CREATE ' || CASE WHEN entry.indisunique THEN 'UNIQUE ' ELSE '' END || 'INDEX ' AS verb,
        -- What comes after the names, which the server prints qualified.
        right(
            pg_get_indexdef(own.oid),
            -length(
                'CREATE ' || CASE WHEN entry.indisunique THEN 'UNIQUE ' ELSE '' END || 'INDEX '
                || quote_ident(own.relname) || ' ON ' || quote_ident(home.nspname) || '.' || quote_ident(ends.relname)
            )
        ) AS definition
    FROM ends
    INNER JOIN pg_index AS entry ON ends.oid = entry.indrelid AND entry.indisvalid
    INNER JOIN pg_class AS own ON entry.indexrelid = own.oid
    INNER JOIN pg_namespace AS home ON ends.relnamespace = home.oid
),

twins AS (
    SELECT
        own.relname,
        regexp_replace(own.relname, '\d{8}[Tt]\d+', '') AS rest
    FROM ends
    INNER JOIN pg_index AS entry ON ends.heir = entry.indrelid
    INNER JOIN pg_class AS own ON entry.indexrelid = own.oid
),

based_indexes AS (
    SELECT
        *,
        CASE
            WHEN itself THEN relname::text
            WHEN of_template
                THEN (
                    SELECT min(twins.relname) FROM twins
                    WHERE twins.rest = regexp_replace(defined_indexes.relname, '\d{8}[Tt]\d+', '')
                )
            ELSE %(prefix)s || '_kept_' || left(md5(relname || definition), 12)
        END AS base
    FROM defined_indexes
),

indexes AS (
    SELECT
        *,
        'index ' || relname AS what,
        quote_ident(base) AS base_name,
        schema || quote_ident(base) AS name,
        array(
            SELECT field.attname::text FROM pg_depend AS depend
            INNER JOIN pg_attribute AS field
                ON depend.refobjid = field.attrelid AND depend.refobjsubid = field.attnum
            WHERE
                depend.classid = 'pg_class'::regclass
                AND depend.objid = based_indexes.oid
                AND depend.refclassid = 'pg_class'::regclass
        ) AS columns
    FROM based_indexes
),

defined_statistics AS (
    SELECT
        own.*,
        ends.itself,
        CASE WHEN ends.relnamespace = heir.relnamespace THEN home.nspname ELSE ends.heir_schema END AS schema,
        -- What comes after the name and before FROM, where the relation is printed as regclass prints it.
        left(
            right(
                pg_get_statisticsobjdef(own.oid),
                -length('CREATE STATISTICS ' || quote_ident(home.nspname) || '.' || quote_ident(own.stxname))
            ),
            -length(ends.oid::regclass::text)
        ) AS definition
    FROM ends
    INNER JOIN pg_class AS heir ON ends.heir = heir.oid
    INNER JOIN pg_statistic_ext AS own ON ends.oid = own.stxrelid
    INNER JOIN pg_namespace AS home ON own.stxnamespace = home.oid
),

based_statistics AS (
    SELECT
        *,
        CASE
            WHEN itself THEN stxname::text
            ELSE %(prefix)s || '_kept_' || left(md5(stxname || definition), 12)
        END AS base
    FROM defined_statistics
),

statistics AS (
    SELECT
        *,
        'statistics ' || stxname AS what,
        quote_ident(schema) || '.' || quote_ident(base) AS name,
        array(
            SELECT field.attname::text FROM pg_depend AS depend
            INNER JOIN pg_attribute AS field
                ON depend.refobjid = field.attrelid AND depend.refobjsubid = field.attnum
            WHERE
                depend.classid = 'pg_statistic_ext'::regclass
                AND depend.objid = based_statistics.oid
                AND depend.refclassid = 'pg_class'::regclass
        ) AS columns
    FROM based_statistics
),

options AS (
    SELECT
        quote_ident(option_name) AS name,
        option_value AS value
    FROM ends
    CROSS JOIN LATERAL pg_options_to_table(ends.reloptions)
    UNION ALL
    SELECT
        'toast.' || quote_ident(option_name),
        option_value
    FROM ends
    INNER JOIN pg_class AS toast ON ends.reltoastrelid = toast.oid
    CROSS JOIN LATERAL pg_options_to_table(toast.reloptions)
),

storages AS (
    SELECT
        letter,
        name
    FROM (VALUES ('p', 'PLAIN'), ('e', 'EXTERNAL'), ('m', 'MAIN'), ('x', 'EXTENDED')) AS known (letter, name)
),

heirs_columns AS (
    SELECT array_agg(field.attname::text) AS names
    FROM ends
    INNER JOIN pg_attribute AS field ON ends.heir = field.attrelid
    WHERE field.attnum > 0 AND NOT field.attisdropped
),

objects AS (
    SELECT
        'pg_class'::regclass AS classoid,
        oid AS objoid,
        0 AS objsubid,
        'it' AS what,
        '{}'::text[] AS columns,
        object
    FROM ends
    UNION ALL
    SELECT
        'pg_class'::regclass,
        attrelid,
        attnum,
        what,
        columns,
        object
    FROM fields
    UNION ALL
    SELECT
        'pg_class'::regclass,
        oid,
        0,
        what,
        columns,
        'INDEX ' || name
    FROM indexes
    UNION ALL
    SELECT
        'pg_statistic_ext'::regclass,
        oid,
        0,
        what,
        columns,
        'STATISTICS ' || name
    FROM statistics
),

belongings AS (
    SELECT
        10 AS step,
        'storage' AS kind,
        'access method' AS what,
        '{}'::text[] AS columns,
        true AS goes,
        alter_heir || 'SET ACCESS METHOD ' || quote_ident(pg_am.amname) AS statement,
        alter_heir || 'SET ACCESS METHOD ' || current_setting('default_table_access_method') AS undo,
        null AS rename
    FROM ends
    INNER JOIN pg_am ON ends.relam = pg_am.oid
    WHERE pg_am.amname <> current_setting('default_table_access_method')
    UNION ALL
    SELECT
        11,
        'storage',
        'tablespace',
        '{}',
        true,
        alter_heir || 'SET TABLESPACE ' || quote_ident(pg_tablespace.spcname),
        alter_heir || 'SET TABLESPACE ' || quote_ident(usual.spcname),
        null
    FROM ends
    INNER JOIN pg_tablespace ON ends.reltablespace = pg_tablespace.oid
    INNER JOIN pg_database ON pg_database.datname = current_database()
    INNER JOIN pg_tablespace AS usual ON pg_database.dattablespace = usual.oid
    UNION ALL
    SELECT
        12,
        'storage',
        'option ' || options.name,
        '{}',
        true,
        ends.alter_heir || 'SET (' || options.name || ' = ' || quote_literal(options.value) || ')',
        ends.alter_heir || 'RESET (' || options.name || ')',
        null
    FROM options
    CROSS JOIN ends
    UNION ALL
    SELECT
        20,
        'storage',
        'storage of ' || fields.what,
        fields.columns,
        true,
        fields.alter_heir || 'SET STORAGE ' || chosen.name,
        fields.alter_heir || 'SET STORAGE ' || usual.name,
        null
    FROM fields
    INNER JOIN pg_type ON fields.atttypid = pg_type.oid AND fields.attstorage <> pg_type.typstorage
    INNER JOIN storages AS chosen ON fields.attstorage::text = chosen.letter
    INNER JOIN storages AS usual ON pg_type.typstorage::text = usual.letter
    UNION ALL
    SELECT
        21,
        'storage',
        'compression of ' || what,
        columns,
        true,
        alter_heir || 'SET COMPRESSION ' || CASE attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END,
        alter_heir || 'SET COMPRESSION default',
        null
    FROM fields
    WHERE attcompression IN ('p', 'l')
    UNION ALL
    SELECT
        30,
        'index',
        indexes.what,
        indexes.columns,
        false,
        indexes.verb || indexes.base_name || ' ON ' || %(heir)s || indexes.definition,
        'DROP INDEX ' || indexes.name,
        CASE
            WHEN NOT indexes.itself
                THEN
                    'ALTER INDEX ' || indexes.schema || quote_ident(indexes.relname) || ' RENAME TO '
                    || quote_ident(indexes.base || '_old')
                    || '; ALTER INDEX ' || indexes.name || ' RENAME TO ' || quote_ident(indexes.relname)
        END
    FROM indexes
    WHERE NOT indexes.of_template
    UNION ALL
    SELECT
        31,
        'index',
        'tablespace of ' || indexes.what,
        indexes.columns,
        true,
        'ALTER INDEX ' || indexes.name || ' SET TABLESPACE ' || quote_ident(pg_tablespace.spcname),
        'ALTER INDEX ' || indexes.name || ' SET TABLESPACE ' || quote_ident(usual.spcname),
        null
    FROM indexes
    INNER JOIN pg_tablespace ON indexes.reltablespace = pg_tablespace.oid
    INNER JOIN pg_database ON pg_database.datname = current_database()
    INNER JOIN pg_tablespace AS usual ON pg_database.dattablespace = usual.oid
    UNION ALL
    -- Of an index that others made, they are in its definition.
    SELECT
        32,
        'index',
        'option ' || option.option_name || ' of ' || indexes.what,
        '{}',
        true,
        'ALTER INDEX ' || indexes.name || ' SET (' || quote_ident(option.option_name) || ' = '
        || quote_literal(option.option_value) || '); REINDEX INDEX ' || indexes.name,
        'ALTER INDEX ' || indexes.name || ' RESET (' || quote_ident(option.option_name) || ')',
        null
    FROM indexes
    CROSS JOIN LATERAL pg_options_to_table(indexes.reloptions) AS option
    WHERE indexes.of_template
    UNION ALL
    SELECT
        33,
        'index',
        'statistics target of column ' || field.attnum || ' of ' || indexes.what,
        indexes.columns,
        true,
        'ALTER INDEX ' || indexes.name || ' ALTER ' || field.attnum || ' SET STATISTICS ' || field.attstattarget,
        'ALTER INDEX ' || indexes.name || ' ALTER ' || field.attnum || ' SET STATISTICS -1',
        null
    FROM indexes
    INNER JOIN pg_attribute AS field ON indexes.oid = field.attrelid AND field.attstattarget >= 0
    UNION ALL
    SELECT
        40,
        'statistics',
        statistics.what,
        statistics.columns,
        false,
        'CREATE STATISTICS ' || statistics.name || statistics.definition || %(heir)s,
        'DROP STATISTICS ' || statistics.name,
        CASE
            WHEN NOT statistics.itself AND pg_has_role(statistics.stxowner, 'USAGE')
                THEN
                    'ALTER STATISTICS ' || quote_ident(statistics.schema) || '.' || quote_ident(statistics.stxname)
                    || ' RENAME TO ' || quote_ident(statistics.base || '_old')
                    || '; ALTER STATISTICS ' || statistics.name || ' RENAME TO ' || quote_ident(statistics.stxname)
        END
    FROM statistics
    UNION ALL
    SELECT
        41,
        'statistics',
        'target of ' || what,
        columns,
        true,
        'ALTER STATISTICS ' || name || ' SET STATISTICS ' || stxstattarget,
        'ALTER STATISTICS ' || name || ' SET STATISTICS -1',
        null
    FROM statistics
    WHERE stxstattarget >= 0
    UNION ALL
    SELECT
        50,
        'statistics',
        'statistics target of ' || what,
        columns,
        true,
        alter_heir || 'SET STATISTICS ' || attstattarget,
        alter_heir || 'SET STATISTICS -1',
        null
    FROM fields
    WHERE attstattarget >= 0
    UNION ALL
    SELECT
        51,
        'statistics',
        'option ' || option.option_name || ' of ' || fields.what,
        fields.columns,
        true,
        fields.alter_heir || 'SET (' || quote_ident(option.option_name) || ' = '
        || quote_literal(option.option_value) || ')',
        fields.alter_heir || 'RESET (' || quote_ident(option.option_name) || ')',
        null
    FROM fields
    CROSS JOIN LATERAL pg_options_to_table(fields.attoptions) AS option
    WHERE option.option_name !~ '^pg_'  -- 17.12 notes pg_attver there for itself
    UNION ALL
    SELECT
        60,
        'note',
        'comment on ' || objects.what,
        objects.columns,
        true,
        'COMMENT ON ' || objects.object || ' IS ' || quote_literal(note.description),
        'COMMENT ON ' || objects.object || ' IS NULL',
        null
    FROM objects
    INNER JOIN pg_description AS note
        ON
            objects.classoid = note.classoid
            AND objects.objoid = note.objoid
            AND objects.objsubid = note.objsubid
    UNION ALL
    SELECT
        61,
        'note',
        'security label on ' || objects.what,
        objects.columns,
        true,
        'SECURITY LABEL FOR ' || quote_ident(label.provider) || ' ON ' || objects.object || ' IS '
        || quote_literal(label.label),
        'SECURITY LABEL FOR ' || quote_ident(label.provider) || ' ON ' || objects.object || ' IS NULL',
        null
    FROM objects
    INNER JOIN pg_seclabel AS label
        ON
            objects.classoid = label.classoid
            AND objects.objoid = label.objoid
            AND objects.objsubid = label.objsubid
    UNION ALL
    SELECT
        70,
        'note',
        'CLUSTER ON ' || indexes.relname,
        '{}',
        true,
        ends.alter_heir || 'CLUSTER ON ' || indexes.base_name,
        ends.alter_heir || 'SET WITHOUT CLUSTER',
        null
    FROM indexes
    CROSS JOIN ends
    WHERE indexes.indisclustered
)

SELECT
    belongings.kind,
    belongings.what,
    belongings.columns <@ heirs_columns.names AS fits,
    CASE
        WHEN belongings.columns <@ heirs_columns.names OR NOT belongings.goes THEN belongings.statement
    END AS statement,
    belongings.undo,
    belongings.rename,
    CASE WHEN belongings.goes THEN belongings.statement ELSE belongings.undo END AS token
FROM belongings
CROSS JOIN heirs_columns
ORDER BY belongings.step, belongings.what;

-- name: unkept
-- What others hung on a table and can't be kept true there, because its rows come in parts that are its children, by no
-- statement that names it: each with the statement that takes it away, and whether it tells rows apart
-- (https://www.postgresql.org/docs/current/ddl-inherit.html#DDL-INHERIT-CAVEATS).
WITH relation AS (
    SELECT
        pg_class.oid,
        quote_ident(pg_namespace.nspname) || '.' || quote_ident(pg_class.relname) AS name
    FROM pg_class
    INNER JOIN pg_namespace ON pg_class.relnamespace = pg_namespace.oid
    WHERE pg_class.oid = to_regclass(%(table)s)
)

SELECT
    CASE contype
        WHEN 'p' THEN 'primary key ' WHEN 'u' THEN 'unique constraint ' WHEN 'x' THEN 'exclusion constraint '
        ELSE 'foreign key '
    END || conname AS what,
    'ALTER TABLE ' || relation.name || ' DROP CONSTRAINT ' || quote_ident(conname) AS remedy,
    contype <> 'f' AS is_key
FROM relation
INNER JOIN pg_constraint ON relation.oid = conrelid AND contype IN ('p', 'u', 'x', 'f')
UNION ALL
SELECT
    'foreign key ' || conname || ' of ' || conrelid::regclass,
    'ALTER TABLE ' || conrelid::regclass || ' DROP CONSTRAINT ' || quote_ident(conname),
    false
FROM relation
INNER JOIN pg_constraint ON relation.oid = confrelid AND contype = 'f' AND relation.oid <> conrelid
UNION ALL
SELECT
    'unique index ' || own.relname,
    'DROP INDEX ' || own.oid::regclass,
    true
FROM relation
INNER JOIN pg_index ON relation.oid = indrelid AND indisunique
INNER JOIN pg_class AS own ON indexrelid = own.oid
WHERE
    NOT EXISTS (
        SELECT FROM pg_constraint
        WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x')
    )
UNION ALL
SELECT
    'trigger ' || tgname,
    'DROP TRIGGER ' || quote_ident(tgname) || ' ON ' || relation.name,
    false
FROM relation
INNER JOIN pg_trigger ON relation.oid = tgrelid AND NOT tgisinternal AND tgenabled <> 'D'
UNION ALL
SELECT
    'rule ' || rulename,
    'DROP RULE ' || quote_ident(rulename) || ' ON ' || relation.name,
    false
FROM relation
INNER JOIN pg_rewrite ON relation.oid = ev_class AND ev_enabled <> 'D'
UNION ALL
SELECT
    'publication ' || pubname,
    'ALTER PUBLICATION ' || quote_ident(pubname) || ' DROP TABLE ' || relation.name,
    false
FROM relation
INNER JOIN pg_publication_rel ON relation.oid = prrelid
INNER JOIN pg_publication ON prpubid = pg_publication.oid
UNION ALL
SELECT
    'publication ' || pubname,
    'ALTER PUBLICATION ' || quote_ident(pubname) || ' DROP TABLES IN SCHEMA ' || pnnspid::regnamespace,
    false
FROM relation
INNER JOIN pg_class ON relation.oid = pg_class.oid
INNER JOIN pg_publication_namespace ON pg_class.relnamespace = pnnspid
INNER JOIN pg_publication ON pnpubid = pg_publication.oid
ORDER BY what;
