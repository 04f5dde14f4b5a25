"""A private PostgreSQL for one machine: its own folder, its own port, two databases."""

import glob
import os
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path

from eyas.errors import BadInputError, MissingExtraError
from flows.servers import Servers

DATABASES = ("mlflow", "prefect")
USER = "eyas"


def find_programs() -> Path | None:
    """The folder with ``initdb`` and ``postgres``, newest version first; None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    if found and shutil.which("postgres"):
        return Path(found).resolve().parent
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]), reverse=True)
    return next((Path(folder) for folder in folders if Path(folder, "initdb").exists()), None)


def start_postgres(servers: Servers, folder: Path, port: int) -> str:
    """Start PostgreSQL on ``folder`` (created on the first start); returns ``user:password@host:port``.

    PostgreSQL refuses to run as root; root starts it as the ``postgres`` user that its package made.

    Raises:
        MissingExtraError: PostgreSQL is not installed.
        BadInputError: its user cannot reach the folder.
    """
    programs = find_programs()
    if programs is None:
        msg = "PostgreSQL is not installed: apt-get install postgresql, or give --database postgresql://user:password@host"
        raise MissingExtraError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    password_file = folder / "password"
    if not password_file.exists():
        descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(descriptor, secrets.token_urlsafe(24).encode())
        os.close(descriptor)
    become = _become(folder)
    data = folder / "data"
    if not (data / "PG_VERSION").exists():
        command = [*become, str(programs / "initdb"), "-D", str(data), "-U", USER, "-A", "scram-sha-256", "-E", "UTF8"]
        subprocess.run([*command, "--pwfile", str(password_file)], check=True, capture_output=True, cwd="/")
    options = ["-p", str(port), "-k", str(folder), "-h", "127.0.0.1"]
    # SIGINT is PostgreSQL's fast shutdown: it does not wait for clients to leave.
    command = [*become, str(programs / "postgres"), "-D", str(data), *options]
    servers.start("postgres", command, stop_signal=signal.SIGINT)
    password = password_file.read_text()
    create_databases(f"{USER}:{password}@127.0.0.1:{port}")
    return f"{USER}:{password}@127.0.0.1:{port}"


def create_databases(place: str) -> None:
    """Create what is missing of the two databases; waits until the server answers.

    Raises:
        psycopg2.OperationalError: the server did not answer within half a minute.
    """
    import psycopg2

    for attempt in range(150):
        try:
            connection = psycopg2.connect(f"postgresql://{place}/postgres")
            break
        except psycopg2.OperationalError:
            if attempt == 149:
                raise
            time.sleep(0.2)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for name in DATABASES:
            cursor.execute("select 1 from pg_database where datname = %s", (name,))
            if not cursor.fetchone():
                cursor.execute(f'create database "{name}"')
    connection.close()


def _become(folder: Path) -> list[str]:
    """The prefix that drops root's rights, after handing the folder over."""
    if os.geteuid() != 0:
        return []
    for path in [folder, *folder.rglob("*")]:
        shutil.chown(path, "postgres")
    become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    if subprocess.run([*become, "test", "-w", str(folder)], check=False).returncode:
        msg = (
            f"PostgreSQL runs as user postgres, who cannot reach {folder}: give --state a folder it can, or --database"
        )
        raise BadInputError(msg)
    return become
