"""The loopback hub as the real client sees it."""

from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from server import Hub

NAME = "org/corpus"
FILES = {f"en/part-{i}.parquet": bytes([i]) * 50_000 for i in range(5)} | {"README.md": b"# corpus\n"}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with Hub() as hub:
        hub.use(monkeypatch, tmp_path)
        yield hub


def fetch(path, revision="main", **more):
    return Path(hf_hub_download(NAME, path, repo_type="dataset", revision=revision, **more)).read_bytes()


def test_listing_snapshot_and_converted_branch(hub, tmp_path):
    first = hub.commit(NAME, FILES)
    converted = hub.commit(NAME, {"default/test/0000.parquet": b"p"}, branch="refs/convert/parquet")
    api = HfApi()
    info = api.dataset_info(NAME)
    assert info.sha == first and sorted(s.rfilename for s in info.siblings) == sorted(FILES)
    assert api.dataset_info(NAME, revision="refs/convert/parquet").sha == converted
    listed = [f.path for f in api.list_repo_tree(NAME, repo_type="dataset", recursive=True)]
    assert sorted(listed) == sorted([*FILES, "en"])  # more than a page
    folder = snapshot_download(NAME, repo_type="dataset", revision=first)
    assert {path: Path(folder, path).read_bytes() for path in FILES} == FILES
    assert fetch("default/test/0000.parquet", "refs/convert/parquet") == b"p"
    (pointer,) = api.get_paths_info(NAME, "en/part-1.parquet", repo_type="dataset")
    assert pointer.lfs.size == pointer.size == 50_000


def test_refusals_have_the_codes_of_the_hub(hub):
    hub.commit(NAME, FILES, gated=True, allowed={"good"})
    with pytest.raises(GatedRepoError) as e:
        fetch("README.md")
    assert e.value.response.status_code == 401
    with pytest.raises(GatedRepoError) as e:
        fetch("README.md", token="bad")
    assert e.value.response.status_code == 403
    assert fetch("README.md", token="good") == FILES["README.md"]
    with pytest.raises(EntryNotFoundError):
        fetch("gone.parquet", token="good")
    with pytest.raises(RevisionNotFoundError):
        fetch("README.md", "no-branch", token="good")
    with pytest.raises(RepositoryNotFoundError):
        HfApi().dataset_info("org/nothing")


def test_a_cut_connection_goes_on_with_a_range(hub):
    hub.commit(NAME, FILES)
    hub.fail("GET /lfs", cut=20_000)
    assert fetch("en/part-3.parquet") == FILES["en/part-3.parquet"]
    assert hub.asked("bytes=20000-")


def test_too_many_requests_then_served(hub):
    hub.commit(NAME, FILES)
    hub.fail("GET /lfs", status=429, headers={"Retry-After": "0"})
    assert fetch("en/part-2.parquet") == FILES["en/part-2.parquet"]
    assert len(hub.asked("GET /lfs")) == 2


def test_a_server_error_and_a_branch_that_moves(hub):
    first = hub.commit(NAME, FILES)
    hub.fail("api/datasets", status=500)
    with pytest.raises(HfHubHTTPError):
        HfApi().dataset_info(NAME)
    hub.fail("api/datasets", skip=1, action=lambda: hub.commit(NAME, FILES | {"README.md": b"changed"}))
    assert HfApi().dataset_info(NAME).sha == first
    second = HfApi().dataset_info(NAME).sha
    assert second != first
    assert fetch("README.md", first) == FILES["README.md"] and fetch("README.md", second) == b"changed"
