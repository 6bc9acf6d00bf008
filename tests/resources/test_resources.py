"""The small resources: together they are the configuration, each can be replaced alone, and none shows a secret."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import pytest
from dagster_aws.s3 import S3Resource

from harvester_dagster import config as configuration
from harvester_dagster.catalog import CATALOG
from harvester_dagster.config import Config, Index, Store
from harvester_dagster.definitions import build
from harvester_dagster.failures import StorageError
from harvester_dagster.installation import Installation
from harvester_dagster.services.launcher import S3Endpoint
from harvester_dagster.store.objects import Bucket, Folder
from resources.bucket import BucketResource, bucket_resource
from resources.harvester import HarvesterResource, parts
from resources.objects import FolderResource, objects_resource
from resources.outside import OutsideResource
from resources.search import SearchResource
from resources.settings import SettingsResource
from resources.store import StoreResource

EXAMPLE = Path(__file__).parents[2] / "harvester.example.toml"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARVESTER_HOME", str(tmp_path))
    monkeypatch.delenv("HARVESTER_POSTGRES_URL", raising=False)
    return tmp_path


@pytest.fixture
def bucket(s3: S3Endpoint, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a bucket of the test's own; boto3 finds its credentials in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    name = f"resources-{uuid.uuid4().hex}"
    S3Resource(endpoint_url=s3.url).get_client().create_bucket(Bucket=name)
    yield name


def seen(config: Config, look: Any, **resources: Any) -> Any:
    """What an asset sees of the installation that is opened for it, with these resources in place of the configured."""
    found = []

    @dg.op
    def looking(harvester: dg.ResourceParam[Installation]) -> None:
        found.append(look(harvester))

    @dg.job
    def job() -> None:
        looking()

    definitions = dg.Definitions(jobs=[job], resources=build(config, resources=resources).resources)
    assert definitions.resolve_job_def("job").execute_in_process().success
    return found[0]


def together(config: Config) -> Config:
    """The configuration that the resources of one make."""
    return HarvesterResource(**parts(config), catalog=CATALOG).config()


@pytest.mark.parametrize("config", [Config(), configuration.load(EXAMPLE)], ids=["defaults", "example"])
def test_the_resources_together_are_the_configuration(config: Config) -> None:
    assert together(config) == config


def test_a_bucket_and_its_endpoint_are_part_of_it() -> None:
    config = Config(store=Store(objects="s3://name/some/prefix", s3_endpoint="http://minio:9000", retention_days=3))
    assert together(config) == config


def test_the_store_can_be_replaced(home: Path, database: str) -> None:
    def name(harvester: Installation) -> Any:
        with harvester.pool.connection() as connection:
            return connection.execute("SELECT current_database()").fetchone()

    store = StoreResource(postgres_url=database)
    assert seen(Config(), name, store=store) == (urlsplit(database).path.strip("/"),)


def test_the_folder_of_objects_can_be_replaced(home: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARVESTER_POSTGRES_URL", database)
    where = home / "elsewhere"
    kept = seen(Config(), lambda harvester: harvester.objects, objects=FolderResource(folder=str(where)))
    assert isinstance(kept, Folder) and kept.root == where
    assert seen(Config(), lambda harvester: harvester.objects).root == home / "objects"


def test_a_bucket_can_take_the_place_of_the_folder(
    s3: S3Endpoint, bucket: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARVESTER_POSTGRES_URL", database)

    def write(harvester: Installation) -> Any:
        harvester.objects.put("bodies/ab/abcd", b"hello")
        return harvester.objects

    resource = BucketResource(bucket=bucket, prefix="some/prefix", s3=S3Resource(endpoint_url=s3.url))
    assert isinstance(seen(Config(), write, objects=resource), Bucket)
    listed = resource.s3.get_client().list_objects_v2(Bucket=bucket)
    assert [entry["Key"] for entry in listed["Contents"]] == ["some/prefix/bodies/ab/abcd"]


def test_a_bucket_of_a_server_with_a_name_is_asked_by_path(s3: S3Endpoint, bucket: str) -> None:
    """`bucket.localhost` is no name of this server."""
    by_name = f"http://localhost:{urlsplit(s3.url).port}"
    kept = objects_resource(Store(objects=f"s3://{bucket}", s3_endpoint=by_name)).opened()
    kept.put("a/b", b"hello")
    assert kept.get("a/b") == b"hello"
    asked: list[str] = []
    client = bucket_resource(Store(objects=f"s3://{bucket}", s3_endpoint=by_name)).s3.get_client()
    client.meta.events.register("before-send.s3", lambda request, **_: asked.append(request.url))
    client.list_objects_v2(Bucket=bucket)
    assert asked[0].startswith(f"{by_name}/{bucket}?")


def test_the_bucket_of_the_configuration_is_the_one_in_use(
    s3: S3Endpoint, bucket: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARVESTER_POSTGRES_URL", database)
    config = Config(store=Store(objects=f"s3://{bucket}/p", s3_endpoint=s3.url))
    seen(config, lambda harvester: harvester.objects.put("a/b", b"from Dagster"))
    assert objects_resource(config.store).opened().get("a/b") == b"from Dagster"


def test_how_the_outside_is_asked_can_be_replaced(home: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARVESTER_POSTGRES_URL", database)
    outside = OutsideResource(allow_hosts=["solr.local"], per_host_per_second=7, user_agent="somebody")
    network = seen(Config(), lambda harvester: harvester.config.network, outside=outside)
    assert (network.allow_hosts, network.per_host_per_second, network.user_agent) == (("solr.local",), 7, "somebody")


def test_the_search_server_can_be_replaced(home: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARVESTER_POSTGRES_URL", database)
    search = SearchResource(
        url="http://elsewhere:9200", auth="basic", username_env="U", password_env="P", aws_region=""
    )
    index = seen(Config(index=Index(url="none", replicas=2)), lambda harvester: harvester.config.index, search=search)
    assert index == Index(
        url="http://elsewhere:9200", auth="basic", username_env="U", password_env="P", aws_region="", replicas=2
    )


def test_the_settings_can_be_replaced(home: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARVESTER_POSTGRES_URL", database)
    settings = SettingsResource(configuration={"night": {"max_concurrent_sets": 2}, "index": {"shards": 3}})
    config = seen(Config(index=Index(url="none")), lambda harvester: harvester.config, settings=settings)
    assert config == Config.model_validate({"night": {"max_concurrent_sets": 2}, "index": {"shards": 3, "url": "none"}})


def test_resources_that_do_not_fit_say_which_key() -> None:
    broken = {**parts(Config()), "settings": SettingsResource(configuration={"night": {"max_concurrent_sets": 0}})}
    with pytest.raises(configuration.ConfigError, match=r"the resources: night\.max_concurrent_sets"):
        HarvesterResource(**broken, catalog=CATALOG).config()


def test_a_bucket_that_cannot_be_reached_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store = Store(objects="s3://name", s3_endpoint="http://127.0.0.1:1")
    with pytest.raises(StorageError, match=r"s3://name cannot be reached"):
        objects_resource(store).opened()
