# `registry` for whoever verifies: no PyTorch, no MLflow, no key, and no network once it is built.
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
RUN python -m pip install --no-cache-dir -c /constraints.txt -r /requirements-verify.txt
COPY --from=wheel /wheels /wheels
RUN python -m pip install --no-cache-dir --no-deps /wheels/*.whl && rm -r /wheels
# what was seen of a log and of a trust file is remembered here: mount a volume, so that a second history is noticed
ENV HOME=/state XDG_STATE_HOME=/state
# whoever runs it with --user, to read files of their own, can write there too
RUN useradd --uid 10001 --no-create-home registry && install -d -m 1777 /state
# by number: Kubernetes cannot tell that a name is not root's
USER 10001
WORKDIR /work
ENTRYPOINT ["registry"]
CMD ["verify", "--help"]
