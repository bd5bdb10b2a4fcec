"""The models registry: what an operator writes, and the sentence they get when it is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.core.engines import ENDPOINTS, ModelSpec, RegistryError, RegistryFile, load_registry
from app.core.errors import NotFound


def write(folder: Path, text: str) -> Path:
    path = folder / "models.toml"
    path.write_text(text)
    return path


def one(folder: Path, text: str) -> ModelSpec:
    return load_registry(write(folder, '[models."m"]\n' + text)).get("m")


def test_no_file_means_no_models(tmp_path: Path) -> None:
    assert load_registry(tmp_path / "absent.toml").models == {}
    assert RegistryFile(tmp_path / "absent.toml").read().models == {}


def test_a_relative_path_starts_at_the_registry_file(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    spec = one(tmp_path, 'path = "weights"')
    assert spec.folder == (tmp_path / "weights").resolve()
    assert spec.source == str((tmp_path / "weights").resolve())
    assert spec.endpoints == ENDPOINTS
    assert not spec.is_external


def test_what_looks_like_a_hub_id_is_one_unless_such_a_folder_exists(tmp_path: Path) -> None:
    assert one(tmp_path, 'path = "org/name"').folder is None
    assert one(tmp_path, 'path = "org/name"').source == "org/name"
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert one(tmp_path, 'path = "org/name"').folder == (tmp_path / "org" / "name").resolve()


def test_a_mistyped_folder_beside_others_is_not_taken_for_a_hub_id(tmp_path: Path) -> None:
    (tmp_path / "models" / "smollm2").mkdir(parents=True)
    spec = one(tmp_path, 'path = "models/smolm2"')
    assert spec.folder == (tmp_path / "models" / "smolm2").resolve()


def test_the_window_is_twice_what_the_engine_runs_at_once(tmp_path: Path) -> None:
    assert one(tmp_path, 'path = "/x"').request_window() == 512
    flags = 'path = "/x"\nflags = ["--max-num-seqs", "64"]'
    assert one(tmp_path, flags).request_window() == 128
    flags = 'path = "/x"\nflags = ["--max_num_seqs=32", "--enforce-eager"]'
    assert one(tmp_path, flags).request_window() == 64
    assert one(tmp_path, 'path = "/x"\nwindow = 7').request_window() == 7


def test_an_external_engine_is_named_by_its_url(tmp_path: Path) -> None:
    spec = one(tmp_path, 'url = "http://127.0.0.1:8000/v1/"\napi_key_env = "NAME"')
    assert spec.is_external
    assert spec.url == "http://127.0.0.1:8000"
    assert spec.folder is None


@pytest.mark.parametrize(
    ("text", "field", "fault"),
    [
        ("", "path", "path or url must be given, and not both"),
        ('path = "a"\nurl = "http://b"', "path", "path or url must be given, and not both"),
        ('url = "b"', "url", "must begin with http://"),
        ('url = "http://b"\nflags = ["--x"]', "path", "are for a model with a path"),
        ('path = "a"\nendpoints = ["/v1/audio"]', "endpoints", "must be some of"),
        ('path = "a"\nendpoints = []', "endpoints", "must be some of"),
        ('path = "a"\nwindow = 0', "window", "greater than or equal to 1"),
        ('path = "a"\ncolour = "red"', "colour", "this field does not exist"),
        ('path = "a"\nname = "b"', "name", "this field does not exist"),
        ('path = "a"\nenv = { A = 1 }', "env.A", "valid string"),
    ],
)
def test_a_wrong_field_is_named_with_its_file_and_model(
    tmp_path: Path, text: str, field: str, fault: str
) -> None:
    path = write(tmp_path, '[models."m"]\n' + text)
    with pytest.raises(RegistryError) as caught:
        load_registry(path)
    assert str(path) in caught.value.message
    assert f'model "m", field {field}: ' in caught.value.message
    assert fault in caught.value.message


@pytest.mark.parametrize("text", ["models = 3", "[model.m]\npath='a'", "= 1", "models.m = 1"])
def test_a_file_that_is_no_registry_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(RegistryError, match=str(path)):
        load_registry(path)


def test_an_unknown_model_is_not_found_by_its_code(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        load_registry(tmp_path / "absent.toml").get("gpt-9")
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path, '[models."m"]\npath = "/a"')
    registry = RegistryFile(path)
    assert registry.read() is registry.read()
    path.write_text('[models."n"]\npath = "/a"')
    os.utime(path, ns=(1, 1))
    assert list(registry.read().models) == ["n"]
    path.unlink()
    assert registry.read().models == {}


def test_a_file_that_an_edit_breaks_leaves_the_models_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text('[models.one]\npath = "."\n')
    registry = RegistryFile(path)
    assert list(registry.read().models) == ["one"]
    path.write_text("[models.one\n")
    assert list(registry.read().models) == ["one"]
    path.write_text('[models.two]\npath = "."\n')
    assert list(registry.read().models) == ["two"]


def test_a_file_that_was_never_good_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text("[models.one\n")
    with pytest.raises(RegistryError):
        RegistryFile(path).read()
