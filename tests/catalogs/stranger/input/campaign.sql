-- There is none at present.
SELECT
    1 AS id,
    'summer' AS label,
    DATE '2026-06-01' AS runs
WHERE false;
