"""A workflow for a service that runs checks: it verifies what an alias points at, recomputes its figures and asks its gate. Pure.

It joins the registry without a key, so that nothing that it runs can sign, and installs the part that needs no torch. What it must
know of the registry are variables and secrets of the service; the trust file lies in the repository, and its root is compared with
a variable, so that whoever can only change files cannot put another trust in its place.
"""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

DISTRIBUTION = "peft-registry"
CiService = Literal["github", "gitlab"]
PLACES: Mapping[CiService, PurePosixPath] = {
    "github": PurePosixPath(".github/workflows/registry.yml"),
    "gitlab": PurePosixPath("registry.gitlab-ci.yml"),
}
"""Where each service looks for it, or what its own file includes."""
TRUST_FOLDER = "registry-trust"
# what checks need of the distribution's requirements; the rest trains and browses
CHECKING = (
    "pydantic",
    "sqlalchemy",
    "sqlmodel",
    "alembic",
    "cryptography",
    "typer",
    "pyyaml",
    "fsspec",
    "jinja2",
    "numpy",
    "rfc8785",
    "packaging",
    "scipy",
    "lark",
)
_OF_SHARED = ("postgres", "s3")  # extras of a registry that several machines share
_JOIN = (
    f'registry init --join "$REGISTRY_DATABASE" --store "$REGISTRY_STORE" --trust {TRUST_FOLDER}/trust.json '
    '--root "$REGISTRY_ROOT" --read-only --no-example'
)
_CHECKS: Mapping[str, str] = {
    "verify": 'registry verify "$REGISTRY_REFERENCE" --require log-proof',
    "evaluate": 'registry evaluate "$REGISTRY_REFERENCE" --recheck',
    "gate": 'registry gate status "$REGISTRY_REFERENCE"',
}
_ABOUT = """\
# Written by `registry init --ci {service}`. It verifies what an alias points at, recomputes its figures from recorded items, and
# asks the gate of the alias. It has no key: nothing here can sign. What has to be set, {where}:
#   REGISTRY_REFERENCE   what is checked: NAME@ALIAS
#   REGISTRY_DATABASE    postgresql://reader@host/database, a role that only reads; its password as PGPASSWORD
#   REGISTRY_STORE       s3://bucket/prefix, with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of an account that only reads
#   REGISTRY_ROOT        sha256:…, the root of the trust file, as its keeper told you
# The trust file is in the repository: registry trust export {trust}
"""
_GITHUB = """\
name: registry
on:
  workflow_dispatch:
  push:
    paths: [{trust}/**, {place}]
  schedule:
    - cron: "17 5 * * *"
permissions:
  contents: read
jobs:
  check:
    runs-on: ubuntu-latest
    timeout-minutes: 60
    env:
      REGISTRY_HOME: ${{{{ github.workspace }}}}/.registry
      XDG_STATE_HOME: ${{{{ github.workspace }}}}/.registry-state
      REGISTRY_REFERENCE: ${{{{ vars.REGISTRY_REFERENCE }}}}
      REGISTRY_DATABASE: ${{{{ vars.REGISTRY_DATABASE }}}}
      REGISTRY_STORE: ${{{{ vars.REGISTRY_STORE }}}}
      REGISTRY_ROOT: ${{{{ vars.REGISTRY_ROOT }}}}
      PGPASSWORD: ${{{{ secrets.PGPASSWORD }}}}
      AWS_ACCESS_KEY_ID: ${{{{ secrets.AWS_ACCESS_KEY_ID }}}}
      AWS_SECRET_ACCESS_KEY: ${{{{ secrets.AWS_SECRET_ACCESS_KEY }}}}
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - name: remember what was seen of the log, so that a second history is noticed
        uses: actions/cache@v4
        with:
          path: .registry-state
          key: registry-state-${{{{ github.run_id }}}}
          restore-keys: registry-state-
      - name: install
        run: |
          {requirements}
          {itself}
      - name: join
        run: {join}
{checks}"""
_GITHUB_CHECK = """\
      - name: {name}
        run: {command}
"""
_GITLAB = """\
registry:
  image: python:3.12-slim
  timeout: 1h
  variables:
    REGISTRY_HOME: $CI_PROJECT_DIR/.registry
    XDG_STATE_HOME: $CI_PROJECT_DIR/.registry-state
  cache:
    # what was seen of the log is remembered, so that a second history is noticed
    key: registry-state
    paths: [.registry-state]
  before_script:
    - {requirements}
    - {itself}
    - {join}
  script:
{checks}"""
_GITLAB_CHECK = "    - {command}\n"


def ci_workflow(service: CiService, requires: Iterable[str], version: str) -> str:
    """The workflow of a service, as YAML.

    Args:
        service: that runs it.
        requires: the requirements of this distribution, as its metadata has them.
        version: of this distribution, which it installs: another one may read otherwise.
    """
    wanted = " ".join(f"'{requirement}'" for requirement in checking_requirements(requires))
    place = PLACES[service]
    facts = {
        "requirements": f"pip install --no-compile {wanted}",
        "itself": f"pip install --no-compile --no-deps '{DISTRIBUTION}=={version}'",
        "join": _JOIN,
        "trust": TRUST_FOLDER,
        "place": place,
    }
    if service == "github":
        about = _ABOUT.format(service=service, where="as variables and secrets of Actions", trust=TRUST_FOLDER)
        checks = (_GITHUB_CHECK.format(name=name, command=command) for name, command in _CHECKS.items())
        return about + _GITHUB.format(**facts, checks="".join(checks))
    about = _ABOUT.format(service=service, where="as CI/CD variables, masked where they are secret", trust=TRUST_FOLDER)
    about += f"# In .gitlab-ci.yml: include: [{{local: {place}}}]\n"
    checks = (_GITLAB_CHECK.format(command=command) for command in _CHECKS.values())
    return about + _GITLAB.format(**facts, checks="".join(checks))


def checking_requirements(requires: Iterable[str]) -> tuple[str, ...]:
    """Those that checks need, and those of a database and a store that are shared; each without its condition."""
    found: dict[str, Requirement] = {}
    for requirement in map(Requirement, requires):
        extra = next((name for name in _OF_SHARED if _is_of_extra(requirement, name)), None)
        if extra is None and (requirement.marker is not None or canonicalize_name(requirement.name) not in CHECKING):
            continue
        requirement.marker = None
        found.setdefault(canonicalize_name(requirement.name), requirement)
    return tuple(map(str, found.values()))


def _is_of_extra(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})
