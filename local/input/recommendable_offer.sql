-- One row per offer and place: every fifth row is one more place of the offer before it. Few items make most
-- offers, few venues have most of them, and venues are where towns are.
WITH offer AS (
    SELECT
        i,
        i - (i % 5 = 4)::BIGINT AS offer,
        floor(users() / 10 * pow(u(i, 'item'), 3))::BIGINT AS item,
        1 + floor(offers() / 40 * pow(u(i, 'venue'), 2))::BIGINT AS venue,
        floor(towns() * pow(u(venue, 'town'), 3))::BIGINT AS town,
        u(i, 'digital') > 0.2 AS is_geolocated
    FROM range(offers()) AS t (i)
)

SELECT
    item_id(item) AS item_id,
    (2000000 + offer)::VARCHAR AS offer_id,
    TIMESTAMPTZ '2025-01-01 00:00:00+00' + to_microseconds((u(offer, 'created') * 3e13)::BIGINT) AS offer_creation_date,
    CASE
        WHEN u(i, 'dated') > 0.6 THEN TIMESTAMP '2026-01-01 20:00:00' + to_hours((u(i, 'begins') * 4000)::INTEGER)
    END AS stock_beginning_date,
    CASE
        WHEN u(item, 'booked') > 0.05 THEN floor(20000 * pow(u(item, 'popular'), 9))::BIGINT
    END AS booking_number,
    CASE WHEN is_geolocated THEN latitude END AS venue_latitude,
    CASE WHEN is_geolocated THEN longitude END AS venue_longitude,
    CASE WHEN is_geolocated THEN venue END AS venue_id,
    [50, 100, 200, 500][1 + venue % 4]::BIGINT AS default_max_distance,
    format('{}-{}', 2000000 + offer, i % 5) AS unique_id,
    CASE WHEN u(item, 'rated') > 0.01 THEN u(item, 'sensitive') < 0.03 END AS is_sensitive,
    is_geolocated,
    is_geolocated AND u(i, 'near') > 0.1 AS new_offer_is_geolocated,
    floor(365 * u(offer, 'created'))::BIGINT AS new_offer_creation_days,
    CASE
        WHEN u(i, 'priced') > 0.02 THEN (300 * pow(u(i, 'price'), 4))::DECIMAL(38, 9)
    END AS new_offer_stock_price,
    CASE WHEN u(i, 'dated') > 0.6 THEN round(170 * u(i, 'begins'), 1) END AS new_offer_stock_beginning_days,
    u(item, 'x') * 2 - 1 AS new_offer_centroid_x,
    u(item, 'y') * 2 - 1 AS new_offer_centroid_y,
    -- Not exported:
    format('Soirée n° {} à {}', item, name) AS offer_name,
    u(i, 'score') AS internal_score,
    json_object('ville', name, 'population', population) AS offer_context
FROM offer
INNER JOIN town ON offer.town = town.town
ORDER BY i;
