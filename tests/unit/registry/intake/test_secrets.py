"""What looks like a secret, what only resembles one, and that the error never repeats it."""

import time

import pytest

from peft_registry.registry.intake.secrets import FORMS, SecretRefused, require_no_secrets, secret_in, without_secrets
from peft_registry.schemas.identity import Digest

# put together here, so that no scanner of repositories takes this file for a leak
SECRETS = {
    "a Hugging Face token": "hf" + "_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH",
    "an AWS access key id": "AKIA" + "IOSFODNN7EXAMPLE",
    "a private key": "-----BEGIN " + "OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA",
    "a GitHub token": "ghp" + "_" + "a1" * 18,
    "a GitLab token": "glpat" + "-" + "a1b2c3d4e5f6g7h8i9j0",
    "an API key": "sk" + "-proj-" + "a1b2c3d4e5f6g7h8i9j0",
    "a Google API key": "AIza" + "S" * 35,
    "a Slack token": "xoxb" + "-123456789012-abcdefghij",
    "a signed web token": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTYifQ" + ".c2lnbmF0dXJlLXdpdGgtYnl0ZXM",
    "a password in an address": "https://somebody:" + "hunter2@example.org/repository.git",
    "a password or token": "password" + "=correct-horse",
}
ORDINARY = (
    "eos_token=<|endoftext|>",
    "pad_token: <pad>",
    "max_new_tokens=64",
    "token=$HF_TOKEN",
    "password=****",
    "the password is asked for",
    "task-adaptation-of-a-small-model-in-many-words",
    "sk-learn-is-not-a-key-however-long-its-name-is",
    "https://huggingface.co/datasets/example-org/rows",
    "https://example.org:8080/path@3",
    "s3://bucket/prefix?endpoint_url=http://localhost:9000&region=us-east-1",
    "hf_hub_download",
    "SHA256:" + "a" * 64,
    "-----BEGIN PUBLIC KEY-----",
    str(Digest.of(b"x")),
    "registry train formal.yml training.seed=8",
    "prefix_token_policy",
)


def test_every_form_has_an_example_here() -> None:
    assert {form.kind for form in FORMS} == set(SECRETS)
    assert all(form.source for form in FORMS)


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("around", ["{}", "because {} works", "path/{}", "name={}", "«{}»", "a\n{}\nb"])
def test_a_secret_is_found_wherever_it_stands_and_never_repeated(kind: str, around: str) -> None:
    text = around.format(SECRETS[kind])
    assert secret_in(text) is not None
    assert secret_in(around.format(without_secrets(text))) is None
    for value in (text, {"a": [1, {"reason": text}]}, {text: 1}, [text]):
        with pytest.raises(SecretRefused) as refused:
            require_no_secrets(value, what="the reason")
        said = f"{refused.value.what} {refused.value.why} {refused.value.fix}"
        assert SECRETS[kind][:12] not in said
        assert SECRETS[kind][-8:] not in said
        assert refused.value.exit_code == 2


def test_the_error_says_which_kind_and_where() -> None:
    with pytest.raises(SecretRefused) as refused:
        require_no_secrets({"run": [{"note": SECRETS["an AWS access key id"]}]}, what="the training file")
    assert refused.value.what == "the training file holds what looks like an AWS access key id"
    assert "run[0].note" in refused.value.why


def test_a_value_that_is_called_a_secret_is_one() -> None:
    with pytest.raises(SecretRefused):
        require_no_secrets({"hub": {"api_key": "abc"}}, what="the file")
    require_no_secrets({"hub": {"api_key": ""}, "eos_token": "</s>", "password": "$PASSWORD"}, what="the file")


@pytest.mark.parametrize("text", ORDINARY)
def test_what_only_resembles_a_secret_is_left_alone(text: str) -> None:
    assert secret_in(text) is None
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    "part", ["a://", "hf_", "sk-", "token=", "eyJ", "eyJaaaaaaaaaa.", "-----BEGIN ", "A ", "://a:"]
)
def test_a_text_made_to_keep_the_reader_busy_takes_no_time(part: str) -> None:
    text = part * 50_000
    started = time.process_time()
    secret_in(text)
    without_secrets(text)
    assert time.process_time() - started < 2  # seconds of CPU
