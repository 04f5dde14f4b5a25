"""MLflow's and Prefect's pages on what the runs of a checkout left."""

import sys
from pathlib import Path

from eyas.operations.servers.processes import STORE_VARIABLE, Servers, require_free, start_prefect
from eyas.operations.tracking import open_store, tracking_uri
from eyas.operations.tracking.mlflow_store import SQLITE
from eyas.operations.tracking.run_pages import experiment_page
from eyas.storage import redact


def serve_pages(checkout: Path, mlflow_port: int, prefect_port: int) -> int:
    """Serve both pages on this machine until Ctrl-C; prints their addresses once they answer.

    Raises:
        BadInputError: a port is taken.
        EyasError: a server ended or did not answer in time.
    """
    require_free({"--mlflow-port": mlflow_port, "--prefect-port": prefect_port})
    store = tracking_uri(checkout)
    with Servers(checkout) as servers:
        page = f"http://127.0.0.1:{mlflow_port}"
        if store.startswith("http"):
            page = redact(store)
        else:
            command = [sys.executable, "-m", "mlflow", "server", "--port", str(mlflow_port), "--workers", "1"]
            servers.start("mlflow-ui", command, {STORE_VARIABLE: store}, page=f"{page}/health")
            page = experiment_page(open_store(checkout), page) if store.startswith(SQLITE) else page
        api = start_prefect(servers, prefect_port, {})
        sys.stdout.write(f"MLflow   {page}\nPrefect  {api.removesuffix('/api')}\nCtrl-C stops both.\n")
        sys.stdout.flush()
        servers.wait()
    return 0
