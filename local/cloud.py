"""The emulated cloud: `Cloud` is the emulators and PostgreSQL, `Deployment` one project in it with its functions.

    with Cloud() as cloud, cloud.deploy() as here:
        here.call("bq_export")

A cloud takes seconds to start and a deployment without functions a third of one, so tests share a cloud and take a
deployment each: its own Google Cloud project, buckets, topic, data sets and database. With `functions={}` it has no
processes, and the code under test runs in the test's own process with `here.env` as its environment.
"""

import json
import shutil
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc  # type: ignore[import-untyped]
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, storage
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from local import CACHE, LOCATION
from local.bigquery import BigQuery
from local.eventarc import Eventarc, storage_events, topic_events
from local.functions import COLD, FLEET, Instance, Runtime, Spec
from local.monitoring import Monitoring
from local.postgres import RELAXED, server
from local.pubsub import Front, PubSub, by_rules
from local.roles import Account, Grant, guarded
from local.storage import Storage
from shared import catalog
from shared.catalog import DEFAULT_SCHEMA, HourlyTable, Place, Table
from shared.hourly import schema as log_schema
from shared.names import DatasetRef, TableRef

_PROJECT = "recosync-cloud"
_NOTIFICATIONS = f"projects/{_PROJECT}/topics/storage-notifications"
#: What variables say that are not called like their data set.
DATASETS = {
    "BIGQUERY_ML_RECOMMENDATION_DATASET": "ml_reco_local",
    "BIGQUERY_SEED_DATASET": "seed_local",
}
_TEMPORARY = "tmp_local"
_OTHER_DATASETS = (_TEMPORARY, "raw_local")

type Granted = Mapping[str, Sequence[Grant]]
"""What is granted to each function's account, on the resources that terraform/README.md has words for."""


class Cloud:
    """Everything that stands in for Google Cloud, on free loopback ports, in processes that end with us."""

    def __init__(
        self,
        rows_per_part: int = 60_000,
        postgres: Mapping[str, str] = RELAXED,
        runtime: Runtime = COLD,
        *,
        in_memory: bool = False,
    ) -> None:
        """`in_memory`: BigQuery's tables, which are small then."""
        self._rows_per_part, self._postgres_settings, self._runtime = rows_per_part, postgres, runtime
        self._in_memory = in_memory
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        CACHE.mkdir(exist_ok=True)
        with ExitStack() as stack:
            self.folder = Path(tempfile.mkdtemp(prefix="run-", dir=CACHE))
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self.pubsub = PubSub(self.folder)
            stack.callback(self.pubsub.stop)
            self.storage = Storage(self.folder, _PROJECT, _NOTIFICATIONS.split("/")[-1], self.pubsub.host)
            stack.callback(self.storage.stop)
            self.bigquery = BigQuery(
                self.folder, _PROJECT, self.storage.url, self._rows_per_part, in_memory=self._in_memory
            )
            stack.callback(self.bigquery.stop)
            self.monitoring = Monitoring()
            stack.callback(self.monitoring.stop)
            self.postgres = server(self.folder, self._postgres_settings)
            stack.callback(self.postgres.close)
            self.postgres.ready()
            self.postgres.create_template()
            for emulator in (self.pubsub, self.storage, self.bigquery):
                emulator.ready()
            self.publisher.create_topic(name=_NOTIFICATIONS)
            self.pubsub_front = Front(self.pubsub.host, by_rules)
            stack.callback(self.pubsub_front.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def env(self) -> dict[str, str]:
        """Where Google's client libraries find the emulators."""
        return {
            "BIGQUERY_EMULATOR_HOST": self.bigquery.url,
            "STORAGE_EMULATOR_HOST": self.storage.url,
            "PUBSUB_EMULATOR_HOST": self.pubsub_front.host,
            "MONITORING_EMULATOR_HOST": self.monitoring.url,
        }

    def deploy(
        self,
        name: str = "local",
        functions: Mapping[str, Spec] = FLEET,
        env: Mapping[str, str] | None = None,
        runtime: Runtime | None = None,
        granted: Granted | None = None,
    ) -> "Deployment":
        """A new project called `name`, with instances of `functions` that see `env` besides their own settings. The
        catalog is the one that RECOSYNC_CATALOG names, there or in our own environment, or the one that is shipped.
        Where it is `granted` who may do what, the functions may do no more, and the tables of the logs are there.
        """
        return Deployment(self, name, functions, env or {}, runtime or self._runtime, granted)

    @cached_property
    def publisher(self) -> PublisherClient:
        channel = grpc.insecure_channel(self.pubsub.host)
        return PublisherClient(transport=PublisherGrpcTransport(channel=channel))

    @cached_property
    def subscriber(self) -> SubscriberClient:
        channel = grpc.insecure_channel(self.pubsub.host)
        return SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))


class Deployment:
    """One Google Cloud project, with its own of everything that two projects do not share."""

    def __init__(
        self,
        cloud: Cloud,
        name: str,
        functions: Mapping[str, Spec],
        env: Mapping[str, str],
        runtime: Runtime,
        granted: Granted | None = None,
    ) -> None:
        self.cloud, self.name, self._granted = cloud, name, granted
        self.project = f"recosync-{name}".replace("_", "-")
        self.bucket, self.hourly_bucket = f"{self.project}-exports", f"{self.project}-hourly"
        self.topic, self.refreshed_topic, self.hour_done_topic = (
            f"projects/{self.project}/topics/{name}" for name in ("snapshot-published", "view-refreshed", "hour-done")
        )
        self.instances: dict[str, list[Instance]] = {}
        self.accounts: dict[str, Account] = {}
        self.guarded: dict[str, dict[str, str]] = {}
        named = env.get(catalog.FOLDER_VARIABLE)
        self._place = Place.of(Path(named)) if named else Place.here()
        self._functions, self._extra_env, self._runtime = functions, env, runtime
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.dsn = self.cloud.postgres.clone(self.name)
            stack.callback(self.cloud.postgres.drop, self.name)
            self.env = self._environment()
            self._make_schemas()
            for bucket in (self.bucket, self.hourly_bucket):
                self.storage_client.create_bucket(bucket)
                stack.callback(self._delete_bucket, bucket)
            stack.callback(self._forget_bigquery, self.project)
            self._emulated("PUT", self.project, f"?datasets={','.join((*DATASETS.values(), *_OTHER_DATASETS))}")
            for topic in (self.topic, self.refreshed_topic, self.hour_done_topic):
                self.cloud.publisher.create_topic(name=topic)
                stack.callback(self.cloud.publisher.delete_topic, topic=topic)
            self._guard_functions(stack)
            self._start_functions(stack)
            self._connect_triggers(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def all_instances(self) -> list[Instance]:
        return list(chain.from_iterable(self.instances.values()))

    def url(self, function: str) -> str:
        """The address of a function's first instance."""
        return self.instances[function][0].url

    def call(self, function: str, body: object = None, headers: Mapping[str, str] | None = None) -> object:
        """Call an HTTP function as Cloud Scheduler does; its JSON answer. Raises HTTPError on a status of 400 up."""
        request = urllib.request.Request(
            self.url(function),
            json.dumps(body or {}).encode(),
            {"content-type": "application/json", **(headers or {})},
        )
        with urllib.request.urlopen(request, timeout=1800) as response:
            return json.load(response)

    def log(self, function: str) -> str:
        """What all instances of a function wrote."""
        return "".join(instance.log.read_text() for instance in self.instances[function])

    @cached_property
    def bigquery_client(self) -> bigquery.Client:
        options = ClientOptions(api_endpoint=self.cloud.bigquery.url)
        return bigquery.Client(self.project, _nobody(), client_options=options, location=LOCATION)

    @cached_property
    def storage_client(self) -> storage.Client:
        options = ClientOptions(api_endpoint=self.cloud.storage.url)
        return storage.Client(self.project, _nobody(), client_options=options)

    @property
    def place(self) -> Place:
        """Where the catalog is. Functions have another one once they are restarted."""
        return self._place

    @place.setter
    def place(self, place: Place) -> None:
        self._place, self._extra_env = place, {**self._extra_env, catalog.FOLDER_VARIABLE: str(place.file)}
        self.env = self._environment()
        self._make_schemas()
        self._grant()

    def restart_functions(self) -> None:
        """Restart them one by one, in the environment that there is now. What they are at is done first, or broken off
        after a while: then an event comes again.
        """
        for instance in self.all_instances:
            instance.restart(self._env_of(instance.name))

    def source(self, table: Table) -> TableRef:
        """Where a table comes from."""
        names = catalog.load(self.place).dataset_variables
        return table.source.ref(self.project, {name: DatasetRef.parse(self.env[name]) for name in names})

    def target(self, log: HourlyTable) -> TableRef:
        """Where a log goes."""
        of = log.target.dataset_of(self.env["ENV_SHORT_NAME"])
        return TableRef(of.project or self.project, of.dataset, log.target.table)

    def make_dataset(self, ref: TableRef) -> None:
        """Have the data set of a table be there, in whatever project."""
        self.bigquery_client.create_dataset(f"{ref.project}.{ref.dataset}", exists_ok=True)
        if ref.project != self.project:
            self._stack.callback(self._forget_bigquery, ref.project)

    def _make_schemas(self) -> None:
        of = catalog.load(self.place)
        schemas = (
            {of.schema} | {table.schema for table in of.tables.values()} | {view.schema for view in of.views.values()}
        )
        for schema in sorted(schemas - {DEFAULT_SCHEMA}):
            self.cloud.postgres.make_schema(self.name, schema)

    def _environment(self) -> dict[str, str]:
        return {
            **self.cloud.env,
            **{name: name.lower() for name in catalog.load(self.place).dataset_variables},
            **DATASETS,
            "ENV_SHORT_NAME": "local",
            "GCP_PROJECT_ID": self.project,
            "RECOMMENDATION_SQL_INSTANCE": "recommendation-local",
            "EXPORT_BUCKET": self.bucket,
            "EXPORT_PREFIX": "recommendation_exports",
            "COMPLETION_TOPIC": self.topic.split("/")[-1],
            "REFRESHED_TOPIC": self.refreshed_topic.split("/")[-1],
            "HOUR_DONE_TOPIC": self.hour_done_topic.split("/")[-1],
            "HOURLY_BUCKET": self.hourly_bucket,
            "HOURLY_PREFIX": "cloudsql_hourly",
            # A whole day that has ended, whenever it is asked.
            "HOURLY_START": f"{datetime.now(UTC) - timedelta(days=1):%Y%m%dT00}",
            "DATABASE_URL": self.dsn,
            **self._extra_env,
        }

    def _start_functions(self, stack: ExitStack) -> None:
        stack.callback(self._stop_functions)
        for function, spec in self._functions.items():
            self.instances[function] = []
            for number in range(spec.instances):
                log = self.cloud.folder / f"{self.name}-{function}-{number}.log"
                instance = Instance(function, spec, log, self._env_of(function), self._runtime)
                self.instances[function].append(instance)
        for instance in self.all_instances:
            instance.ready()

    def _env_of(self, function: str) -> dict[str, str]:
        role = self._functions[function].role
        database = {"DATABASE_URL": self.cloud.postgres.dsn(self.name, role)} if role else {}
        return self.env | database | self.guarded.get(function, {})

    def _guard_functions(self, stack: ExitStack) -> None:
        """Let each function run as an account of its own."""
        if self._granted is None:
            return
        jobs = dict[str, str]()
        for name in (*self._functions, "operator"):
            self.accounts[name] = Account(name, (), jobs)
            self.guarded[name] = stack.enter_context(guarded(self.env, self.accounts[name]))
        self._grant()

    def _grant(self) -> None:
        """Make the logs' tables of the catalog that there is now, and grant what is granted on what it names."""
        if self._granted is None:
            return
        for log in catalog.load(self.place).hourly.values():
            self._make_raw_table(log)
        resources = self._resources()
        for name, account in self.accounts.items():
            account.grants = [
                Grant(grant.role, resource)
                for grant in self._granted.get(name, ())
                for resource in resources.get(grant.on, ())
            ]

    def _resources(self) -> dict[str, list[str]]:
        """What the words of terraform/README.md stand for. What is not here is not emulated."""
        of = catalog.load(self.place)
        sources = (self.source(table) for table in of.tables.values())
        return {
            "project": [f"projects/{self.project}"],
            "export bucket": [f"buckets/{self.bucket}"],
            "hourly bucket": [f"buckets/{self.hourly_bucket}"],
            "completion topic": [self.topic],
            "refreshed topic": [self.refreshed_topic],
            "hour-done topic": [self.hour_done_topic],
            "tmp_{env}": [f"projects/{self.project}/datasets/{_TEMPORARY}"],
            "the source data sets": sorted({f"projects/{ref.project}/datasets/{ref.dataset}" for ref in sources}),
            "each log's table": [
                f"projects/{ref.project}/datasets/{ref.dataset}/tables/{ref.table}"
                for ref in map(self.target, of.hourly.values())
            ],
        }

    def _make_raw_table(self, log: HourlyTable) -> None:
        """As Terraform does."""
        self.make_dataset(self.target(log))
        table = bigquery.Table(
            str(self.target(log)), [bigquery.SchemaField.from_api_repr(dict(field)) for field in log_schema.schema(log)]
        )
        table.time_partitioning = bigquery.TimePartitioning(field=log.target.partition_by)
        table.clustering_fields = list(log.target.cluster_by) or None
        self.bigquery_client.create_table(table, exists_ok=True)

    def _stop_functions(self) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(Instance.stop, self.all_instances))

    def _connect_triggers(self, stack: ExitStack) -> None:
        self.eventarc = Eventarc(self.cloud.subscriber)
        for function, spec in self._functions.items():
            if not spec.trigger:
                continue
            subscription = f"projects/{self.project}/subscriptions/{function}"
            stored = spec.trigger == "storage"
            topic = _NOTIFICATIONS if stored else self.topic
            request = {"name": subscription, "topic": topic, "ack_deadline_seconds": 600}
            self.cloud.subscriber.create_subscription(request=request)
            stack.callback(self.cloud.subscriber.delete_subscription, subscription=subscription)
            to_event = storage_events(self.bucket) if stored else topic_events(topic, subscription)
            urls = [instance.url for instance in self.instances[function]]
            self.eventarc.connect(function, urls, subscription, to_event)
        stack.callback(self.eventarc.close)

    def _delete_bucket(self, name: str) -> None:
        # The client's own `force` refuses a bucket of more than 256 objects.
        bucket = self.storage_client.bucket(name)
        for blob in bucket.list_blobs():
            blob.delete()
        bucket.delete()

    def _forget_bigquery(self, project: str) -> None:
        """Every project that the emulator has makes each of its queries slower."""
        self._emulated("DELETE", project)

    def _emulated(self, method: str, project: str, query: str = "") -> None:
        """Have the emulator do to a project what BigQuery would not."""
        url = f"{self.cloud.bigquery.url}/emulated/{project}{query}"
        urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=30).close()


def _nobody() -> AnonymousCredentials:
    """The emulators ask for no credentials; the client libraries do."""
    return AnonymousCredentials()  # type: ignore[no-untyped-call]
