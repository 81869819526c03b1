-- Recommendations, twenty to a call, evenly over a time. What is in a row depends on that time and its number alone.
WITH span AS (
    SELECT
        extract(EPOCH FROM %(start)s::timestamp)::bigint * 1000000 AS first_us,
        (extract(EPOCH FROM %(end)s::timestamp - %(start)s::timestamp) * 1000000)::bigint AS length_us,
        greatest(%(rows)s::bigint, 1) AS total
),

recommendation AS (
    SELECT
        length_us * i / total + mod(i * 7919, greatest(length_us / total, 1)) AS at_us,
        mod(i, 20) AS place,
        first_us + i / 20 AS call,
        -- All further chance in a row is made of these bits: a user's are the same on all rows of a call.
        hashint8extended(first_us + i / 20, 1) AS u,
        hashint8extended(first_us + i, 2) AS o,
        hashint8extended(first_us + i, 3) AS p
    FROM span, generate_series(0, %(rows)s::bigint - 1) AS number (i)
),

chance AS (
    SELECT
        *,
        -- Offers, of which few are shown often, and numbers in [0, 1).
        (300000 * ((o & 65535) / 65536.0::float8) ^ 3)::integer AS offer,
        ((o >> 16) & 1048575) / 1048576.0::float8 AS distance,
        ((o >> 36) & 65535) / 65536.0::float8 AS price,
        (p & 4503599627370495) / 4503599627370496.0::float8 AS score,
        (u & 7) <> 0 AS located
    FROM recommendation
)

INSERT INTO public.past_offer_context (
    call_id,
    context,
    context_extra_data,
    date,
    user_id,
    user_bookings_count,
    user_clicks_count,
    user_favorites_count,
    user_deposit_remaining_credit,
    user_iris_id,
    user_is_geolocated,
    user_extra_data,
    offer_user_distance,
    offer_is_geolocated,
    offer_id,
    offer_item_id,
    offer_booking_number,
    offer_stock_price,
    offer_creation_date,
    offer_stock_beginning_date,
    offer_category,
    offer_subcategory_id,
    offer_item_rank,
    offer_item_score,
    offer_order,
    offer_venue_id,
    offer_extra_data
)
SELECT
    md5(call::text)::uuid::text,
    jsonb_build_object(
        'type', 'recommendation',
        'search', (ARRAY['théâtre', 'œuvres – l''été', '日本 🎌', '"'])[1 + (u >> 3 & 3)]
    ),
    CASE
        WHEN o & 3 = 0
            THEN jsonb_build_object('filters', jsonb_build_array('musée', NULL, o >> 60), 'page', o >> 58 & 7)
    END,
    %(start)s::timestamp + at_us * interval '1 microsecond',
    (1000 + (u >> 8 & 131071))::text,
    (u >> 25 & 31)::integer,
    CASE WHEN u & 24 <> 0 THEN (u >> 30 & 1023)::integer END,
    CASE WHEN u & 96 <> 0 THEN (u >> 40 & 63)::integer END,
    CASE WHEN u >> 46 & 15 <> 0 THEN round((u >> 46 & 32767) / 100.0, 2) END,
    CASE WHEN located THEN (1 + (u >> 20 & 32767))::text END,
    located,
    CASE
        WHEN u & 128 = 0
            THEN jsonb_build_object('ville', (ARRAY['Besançon', 'Nîmes', 'Saint-Étienne'])[1 + mod(u >> 8 & 255, 3)])
    END,
    CASE WHEN located THEN round((300 * distance)::numeric, place::integer / 2) END,
    mod(offer, 5) <> 0,
    (2000000 + offer)::text,
    (ARRAY['livre', 'cinéma', 'théâtre', 'musique', 'œuvre'])[1 + mod(offer, 5)] || '-' || offer / 10,
    CASE WHEN mod(offer, 16) <> 0 THEN 20000 / (1 + offer) END,
    CASE WHEN mod(offer, 50) <> 0 THEN round((300 * price ^ 4)::numeric, 2) END,
    timestamp '2025-01-01' + offer * interval '100.000001 seconds',
    CASE WHEN mod(offer, 3) = 0 THEN timestamp '2027-01-01 20:00' + mod(offer, 4000) * interval '1 hour' END,
    (ARRAY['LIVRE', 'CINEMA', 'SPECTACLE', 'MUSIQUE', 'BEAUX_ARTS'])[1 + mod(offer, 5)],
    (ARRAY['LIVRE_PAPIER', 'SEANCE_CINE', 'SPECTACLE_REPRESENTATION', 'CONCERT', 'MATERIEL_ART'])[1 + mod(offer, 5)],
    CASE WHEN p >> 53 & 31 <> 0 THEN 1 + place::integer + (p >> 58 & 63)::integer END,
    CASE WHEN p >> 53 & 31 <> 0 THEN score::numeric END,
    place::integer,
    CASE WHEN mod(offer, 5) <> 0 THEN (1 + offer / 40)::text END,
    CASE
        WHEN o >> 52 & 3 = 0
            THEN jsonb_build_object('is_sensitive', o >> 54 & 1 = 1, 'centroid', jsonb_build_array(distance, price))
    END
FROM chance
ORDER BY at_us;
