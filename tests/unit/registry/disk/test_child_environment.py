"""What a child finds in its environment: settings and paths, and of the secrets those that it needs."""

import pytest

from peft_registry.registry.disk.child_environment import Need, child_environment

SETTINGS = {
    "PATH": "/usr/bin",
    "HOME": "/home/alex",
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HOME": "/data/hub",
    "AWS_PROFILE": "registry",
    "AWS_EC2_METADATA_DISABLED": "true",
    "REGISTRY_HOME": "/srv/models/.registry",
    "HTTP_PROXY": "http://proxy.example:3128",
    "XAUTHORITY": "/run/user/1000/xauth",
    "PASSAGE": "a word that begins so",
}
SECRETS = {
    "REGISTRY_PASSPHRASE": "x",
    "REGISTRY_PASSPHRASE_OLD": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_SESSION_TOKEN": "x",
    "AWS_ACCESS_KEY_ID": "x",
    "HF_TOKEN": "x",
    "HUGGING_FACE_HUB_TOKEN": "x",
    "GITHUB_TOKEN": "x",
    "PGPASSWORD": "x",
    "DB_PASSWD": "x",
    "CLIENT_SECRET": "x",
    "OPENAI_API_KEY": "x",
    "signing_key": "x",
    "DATABASE_URL": "postgresql://reader:secret@db.example/catalog",
    "HTTPS_PROXY": "http://user:secret@proxy.example:3128",
    "https_proxy": "http://user:secret@proxy.example:3128",
}


def test_settings_reach_a_child_and_no_secret_does() -> None:
    assert child_environment(SETTINGS | SECRETS) == SETTINGS


@pytest.mark.parametrize(
    ("need", "names"),
    [
        ("database", {"PGPASSWORD"}),
        ("store", {"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "HTTPS_PROXY", "https_proxy"}),
        ("hub", {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HTTPS_PROXY", "https_proxy"}),
    ],
)
def test_a_child_gets_what_it_needs_and_no_other_secret(need: Need, names: set[str]) -> None:
    assert child_environment(SECRETS, needs=[need]).keys() == names


def test_no_need_hands_on_a_passphrase() -> None:
    everything: tuple[Need, ...] = ("database", "store", "hub")
    kept = child_environment(SECRETS, needs=everything)
    assert not [name for name in kept if "PASSPHRASE" in name]
