# A worker: everything a stage needs, nothing else. No build secrets; data and credentials come at run time.
#   docker build -t eyas-worker .
#   docker run -e PREFECT_API_URL=... -e MLFLOW_TRACKING_URI=... -e AWS_ACCESS_KEY_ID=... eyas-worker
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

ENV EYAS_CHECKOUT=/eyas PYTHONPATH=/eyas
CMD ["python", "-m", "prefect", "worker", "start", "--pool", "eyas", "--type", "process"]
