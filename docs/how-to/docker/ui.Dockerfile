# `registry ui --shared`: a home in MLflow's pages, behind MLflow's login. No PyTorch: nothing is trained or loaded here.
# Built from the top of the repository: docs/how-to/run-in-a-container.md
FROM python:3.13-slim AS wheel
WORKDIR /source
COPY pyproject.toml setup.py README.md LICENSE ./
COPY src src
COPY schemas schemas
COPY registry registry
COPY trainer trainer
COPY cli cli
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim
COPY requirements-verify.txt constraints.txt /
# the releases that the tests run with
RUN python -m pip install --no-cache-dir -c /constraints.txt -r /requirements-verify.txt \
    "mlflow>=3.11,<4" "Flask-WTF>=1.2,<2" "psycopg[binary]>=3.2" "s3fs>=2024.6"
COPY --from=wheel /wheels /wheels
RUN python -m pip install --no-cache-dir --no-deps /wheels/*.whl && rm -r /wheels
# the home is mounted at /home-of-registry, and basic_auth.ini with the users' database at /srv/registry
ENV REGISTRY_HOME=/home-of-registry HOME=/state XDG_STATE_HOME=/state MLFLOW_AUTH_CONFIG_PATH=/srv/registry/basic_auth.ini
# whoever runs it with --user, to read files of their own, can write there too
RUN useradd --uid 10001 --no-create-home registry && install -d -m 1777 /state /srv/registry
# by number: Kubernetes cannot tell that a name is not root's
USER 10001
WORKDIR /srv/registry
EXPOSE 5000
ENTRYPOINT ["registry", "ui", "--shared", "--no-open"]
