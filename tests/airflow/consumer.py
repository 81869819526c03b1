"""A neighbour's DAG, which runs when the data is there."""

from airflow.sdk import DAG, Asset

with DAG("of_the_view", schedule=[Asset("recosync://postgresql/enriched_user_mv")]):
    pass

with DAG("of_the_log", schedule=[Asset("recosync://bigquery/past_offer_context")]):
    pass
