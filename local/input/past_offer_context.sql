-- The API's log: what it knew of a user and of an offer when it recommended the one to the other.
CREATE TABLE public.past_offer_context (
    id bigserial PRIMARY KEY,
    call_id varchar,
    context jsonb,
    context_extra_data jsonb,
    date timestamp,
    user_id varchar,
    user_bookings_count integer,
    user_clicks_count integer,
    user_favorites_count integer,
    user_deposit_remaining_credit numeric,
    user_iris_id varchar,
    user_is_geolocated boolean,
    user_extra_data jsonb,
    offer_user_distance numeric,
    offer_is_geolocated boolean,
    offer_id varchar,
    offer_item_id varchar,
    offer_booking_number integer,
    offer_stock_price numeric,
    offer_creation_date timestamp,
    offer_stock_beginning_date timestamp,
    offer_category varchar,
    offer_subcategory_id varchar,
    offer_item_rank integer,
    offer_item_score numeric,
    offer_order integer,
    offer_venue_id varchar,
    offer_extra_data jsonb
);

CREATE INDEX past_offer_context_date ON public.past_offer_context (date);

GRANT SELECT, INSERT ON public.past_offer_context TO api;
GRANT USAGE ON SEQUENCE public.past_offer_context_id_seq TO api;
