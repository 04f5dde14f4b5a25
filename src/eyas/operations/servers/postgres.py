"""A private PostgreSQL for one machine: its own folder, its own port, two databases."""

import glob
import os
import secrets
import shutil
import signal
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from eyas.errors import BadInputError, EyasError, MissingExtraError
from eyas.operations.servers.processes import Servers

DATABASES = ("mlflow", "prefect")
USER = "eyas"
STARTUP_SECONDS = 30.0
ANSWER_SECONDS = 10


def find_programs() -> Path | None:
    """The folder with ``initdb`` and ``postgres``, newest version first; None where PostgreSQL is not installed."""
    initdb = shutil.which("initdb")
    if initdb and shutil.which("postgres"):
        return Path(initdb).resolve().parent
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
        msg = "PostgreSQL is not installed: apt-get install postgresql, or give the address of a server with --database"
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
    create_databases(f"{USER}:{password}@127.0.0.1:{port}", STARTUP_SECONDS)
    return f"{USER}:{password}@127.0.0.1:{port}"


def server_of(address: str) -> str:
    """``user:password@host:port`` of ``postgresql://user:password@host:port``.

    Raises:
        BadInputError: it is none, names a database, or has options.
    """
    try:
        parts = urlsplit(address)
        is_server = parts.scheme in {"postgresql", "postgres"} and parts.username and parts.hostname
        if is_server and parts.port != 0 and not (parts.path.strip("/") or parts.query or parts.fragment):
            return parts.netloc
    except ValueError:  # no number for a port, no address between brackets
        pass
    msg = (
        "--database (not shown, it may hold a password): expected postgresql:// and then USER:PASSWORD@HOST:PORT; "
        f"the databases are {' and '.join(DATABASES)}, options come from the environment (PGSSLMODE=require), "
        "and / ? # in a password are written %2F %3F %23"
    )
    raise BadInputError(msg)


def create_databases(place: str, patience: float = 0.0) -> None:
    """Create what is missing of the two databases.

    Args:
        place: ``user:password@host:port``.
        patience: seconds in which the server may still be starting.

    Raises:
        EyasError: the server does not answer, or refuses; its own words are in the message.
    """
    import psycopg2

    try:
        with closing(_connect(place, patience)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for name in DATABASES:
                    cursor.execute("select 1 from pg_database where datname = %s", (name,))
                    if not cursor.fetchone():
                        cursor.execute(f'create database "{name}"')
    except psycopg2.Error as error:
        reason = str(error).strip().split("\n", 1)[0]
        server = place.rpartition("@")[2]
        msg = f"PostgreSQL at {server} cannot be used: {reason}; correct --database, or start the server"
        raise EyasError(msg) from error


def _connect(place: str, patience: float) -> Any:
    import psycopg2

    deadline = time.monotonic() + patience
    while True:
        try:
            return psycopg2.connect(f"postgresql://{place}/postgres", connect_timeout=ANSWER_SECONDS)
        except psycopg2.OperationalError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.2)


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
