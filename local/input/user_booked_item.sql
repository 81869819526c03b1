-- Bookings: some users book a lot, a few items are booked by everybody, and some book the same item again.
SELECT
    (1000 + floor(users() * pow(u(b, 'user'), 2))::BIGINT)::VARCHAR AS user_id,
    item_id(floor(users() / 10 * pow(u(b, 'item'), 3))::BIGINT) AS item_id,
    -- Not exported:
    b::BIGINT AS booking_id,
    TIMESTAMPTZ '2025-06-01 00:00:00+00' + to_seconds((u(b, 'at') * 2e7)::INTEGER) AS booking_date
FROM (SELECT i - (i % 50 = 49)::BIGINT AS b FROM range(bookings()) AS t (i))
ORDER BY b;
