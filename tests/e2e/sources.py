"""The BigQuery sources, small: a few parts per table, NULLs, duplicates, and columns that are not exported."""

#: Table -> the query that makes its source on a day.
SOURCES = {
    "enriched_user": """
        SELECT
            CONCAT('é', CAST(i AS STRING)) AS user_id,
            TIMESTAMP_ADD(TIMESTAMP '2025-01-01 00:00:00.123456+00', INTERVAL i SECOND) AS user_deposit_creation_date,
            IF(MOD(i, 7) = 0, NULL, DATETIME '2004-02-29 12:00:00') AS user_birth_date,
            i * 0.1 AS user_deposit_initial_amount,
            i / 3 AS user_theoretical_remaining_credit,
            i + {day} AS booking_cnt,
            IF(MOD(i, 5) = 0, NULL, i) AS consult_offer,
            {day} AS has_added_offer_to_favorites,
            'not exported' AS user_email
        FROM UNNEST(GENERATE_ARRAY(1, 2500 + {day})) AS i
    """,
    "recommendable_offers_raw": """
        SELECT
            CONCAT('item-', CAST(MOD(i, 50) AS STRING)) AS item_id,
            CONCAT('offer-', CAST(DIV(i, 2) AS STRING)) AS offer_id,
            TIMESTAMP_ADD(TIMESTAMP '2025-06-01 00:00:00+00', INTERVAL i MINUTE) AS offer_creation_date,
            IF(MOD(i, 3) = 0, NULL, DATETIME '2026-05-01 20:30:00') AS stock_beginning_date,
            i + {day} AS booking_number,
            IF(MOD(i, 4) = 0, NULL, NUMERIC '48.123456789' - i) AS venue_latitude,
            IF(MOD(i, 4) = 0, NULL, NUMERIC '2.5' + i) AS venue_longitude,
            MOD(i, 90) AS venue_id,
            50 AS default_max_distance,
            CAST(i AS STRING) AS unique_id,
            IF(MOD(i, 11) = 0, NULL, MOD(i, 10) = 0) AS is_sensitive,
            MOD(i, 4) != 0 AS is_geolocated,
            TRUE AS new_offer_is_geolocated,
            {day} AS new_offer_creation_days,
            NUMERIC '-0.000000001' AS new_offer_stock_price,
            NUMERIC '99999999999999999999999999999.999999999' AS new_offer_stock_beginning_days,
            i * 0.1 AS new_offer_centroid_x,
            CAST(NULL AS FLOAT64) AS new_offer_centroid_y,
            'not exported' AS offer_name
        FROM UNNEST(GENERATE_ARRAY(1, 1500 + {day})) AS i
    """,
    "non_recommendable_items_data": """
        SELECT
            CAST(MOD(i, 300) AS STRING) AS user_id,
            IF(MOD(i, 100) = 0, '', CONCAT('item-', CAST(MOD(i, 400) AS STRING), '-{day}')) AS item_id,
            i AS booking_id
        FROM UNNEST(GENERATE_ARRAY(1, 1500)) AS i
    """,
    "iris_france": """
        SELECT
            CAST(i AS STRING) AS id,
            IF(MOD(i, 9) = 0, '2A0040101', CAST(100000000 + i AS STRING)) AS irisCode,
            ST_GEOGPOINT(2 + i / 1000, 48.5) AS centroid,
            IF(MOD(i, 10) = 0, NULL, ST_GEOGFROMTEXT(CONCAT(
                'POLYGON((', CAST(i AS STRING), ' 0, ', CAST(i + 1 AS STRING), ' 0, ', CAST(i AS STRING), ' 1, ',
                CAST(i AS STRING), ' 0))'
            ))) AS shape,
            {day} AS not_exported
        FROM UNNEST(GENERATE_ARRAY(1, 80 + {day})) AS i
    """,
}
