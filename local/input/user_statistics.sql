-- Young people with a credit: most book little, some a lot; some have given no birth date or never had a deposit.
SELECT
    (1000 + i)::VARCHAR AS user_id,
    CASE
        WHEN u(i, 'deposit') > 0.03
            THEN TIMESTAMPTZ '2025-01-01 00:00:00+00' + to_microseconds((u(i, 'created') * 3e13)::BIGINT)
    END AS user_deposit_creation_date,
    CASE
        WHEN u(i, 'birth') > 0.01 THEN TIMESTAMP '2004-01-01' + to_days((u(i, 'age') * 1800)::INTEGER)
    END AS user_birth_date,
    CASE WHEN u(i, 'deposit') > 0.03 THEN [20, 30, 300][1 + i % 3]::DOUBLE END AS user_deposit_initial_amount,
    CASE
        WHEN u(i, 'deposit') > 0.03 THEN round([20, 30, 300][1 + i % 3] * u(i, 'credit'), 2)
    END AS user_theoretical_remaining_credit,
    floor(300 * pow(u(i, 'bookings'), 6))::BIGINT AS booking_cnt,
    CASE WHEN u(i, 'tracked') > 0.2 THEN floor(5000 * pow(u(i, 'consults'), 5))::BIGINT END AS consult_offer,
    floor(100 * pow(u(i, 'favorites'), 4))::BIGINT AS has_added_offer_to_favorites,
    -- Not exported:
    md5(i::VARCHAR) AS user_email_hash,
    ['Rhône', 'Corse-du-Sud', 'Côte-d''Or', 'La Réunion'][1 + i % 4] AS user_department_name,
    u(i, 'score') AS internal_score
FROM range(users()) AS t (i);
