# A worker: everything a stage needs, nothing else. No build secrets; data and credentials come at run time.
#   docker build -t eyas-worker --build-arg EYAS_COMMIT="$(git describe --always --abbrev=40 --exclude='*' --dirty)" .
#   docker run -e PREFECT_API_URL=... -e MLFLOW_TRACKING_URI=... -e AWS_ACCESS_KEY_ID=... -v eyas-state:/eyas/.eyas eyas-worker
# The volume keeps what a stopped worker leaves (checkpoints to continue from, downloads); without it the next one starts anew.
FROM python:3.11-slim-bookworm

RUN apt-get update && apt-get install --no-install-recommends --yes git make && rm -rf /var/lib/apt/lists/*

WORKDIR /eyas
# The lock first: code changes more often than dependencies, and this layer is the large one.
COPY requirements.lock ./
RUN python -m pip install --no-cache-dir 'pip==26.3' && python -m pip install --no-cache-dir -r requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN python -m pip install --no-cache-dir --no-deps --editable .
COPY . .

# The image holds no .git: DVC is told so, and lineage takes the commit from the environment ("unknown" without one).
RUN python -m dvc config --local core.no_scm true
RUN useradd --create-home --uid 10001 eyas && mkdir -p .eyas && chown -R eyas:eyas /eyas
USER eyas
ARG EYAS_COMMIT=""
ENV EYAS_COMMIT=$EYAS_COMMIT EYAS_CHECKOUT=/eyas PYTHONPATH=/eyas
CMD ["python", "-m", "prefect", "worker", "start", "--pool", "eyas", "--type", "process"]
