-- IRIS zones of real towns: one for each 2,500 people, on a spiral around the town's true centre.
WITH zone AS (
    SELECT
        *,
        unnest(range(1 + population // 2500)) AS n
    FROM town
),

placed AS (
    SELECT
        *,
        longitude + 0.004 * sqrt(n) * cos(2.4 * n) / cos(radians(latitude)) AS x,
        latitude + 0.004 * sqrt(n) * sin(2.4 * n) AS y
    FROM zone
)

SELECT
    row_number() OVER (ORDER BY town, n)::VARCHAR AS id,
    insee || CASE WHEN population < 2500 THEN '0000' ELSE printf('%04d', 101 + n) END AS "irisCode",
    format('POINT ({:.6f} {:.6f})', x, y)::GEOMETRY AS centroid,
    format('POLYGON (({}))', array_to_string(list_transform([0, 1, 2, 3, 4, 5, 0], corner -> format(
        '{:.6f} {:.6f}',
        x + 0.003 * cos(radians(60 * corner)) / cos(radians(y)),
        y + 0.003 * sin(radians(60 * corner))
    )), ', '))::GEOMETRY AS shape,
    -- Not exported:
    name || coalesce(' – ' || nullif(n, 0), '') AS iris_label,
    population::BIGINT AS population
FROM placed
ORDER BY town, n;
