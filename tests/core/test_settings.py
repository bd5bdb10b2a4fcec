"""What an operator may set, and what a wrong setting is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core.settings import SettingsError, load_settings


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A settings file that is read."""
    path = tmp_path / "stoker.toml"
    monkeypatch.setenv("STOKER_CONFIG", str(path))
    return path


def test_the_environment_wins_over_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('port = 4081\nfile_days = 7\nmedia_hosts = ["images.example.org"]\n')
    monkeypatch.setenv("STOKER_PORT", "4082")
    settings = load_settings()
    assert (settings.port, settings.file_days) == (4082, 7)
    assert settings.media_hosts == ("images.example.org",)
    assert load_settings(port=4083).port == 4083


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("STOKER_PORT", "many", "port (environment: STOKER_PORT)"),
        ("STOKER_PROT", "4080", "STOKER_PROT"),
        ("STOKER_MEDIA_HOSTS", "images.example.org", "STOKER_MEDIA_HOSTS"),
        ("DATABASE_URL", "mysql://server/stoker", "DATABASE_URL"),
    ],
)
def test_a_wrong_variable_is_named_in_one_sentence(
    variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as fault:
        load_settings()
    assert said in str(fault.value)
    assert str(fault.value).count("\n") == 0


@pytest.mark.parametrize(("text", "said"), [("prot = 1", "prot"), ("port = ", "stoker.toml")])
def test_a_wrong_file_is_named_in_one_sentence(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError) as fault:
        load_settings()
    assert said in str(fault.value)
