"""Every limit of the database part, with its unit."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """Limits of one `Database`.

    Attributes:
        connections_max: Connections of the pool; with SQLite, readers beside the one writer.
        connection_wait_s_max: How long a caller waits for a connection before DatabaseBusy.
        connect_s_max: How long connecting may take before DatabaseUnavailable.
        statement_ms_max: PostgreSQL ends a statement that takes longer.
        idle_transaction_ms_max: PostgreSQL ends a transaction that does nothing for longer.
        lock_ms_max: How long a statement waits for a lock before DatabaseBusy.
        connection_age_s_max: A connection older than this is replaced when next used.
        attempts_max: How often `run` begins again after DatabaseBusy, the first time included.
        backoff_ms: Wait before the second attempt; doubles with each one, jitter included. Also the rest of one
            that turns a new SQLite file to write-ahead logging while others do.
        ready_s_max: How long the readiness probe may take.
    """

    connections_max: int = 10
    connection_wait_s_max: float = 10.0
    connect_s_max: float = 5.0
    statement_ms_max: int = 30_000
    idle_transaction_ms_max: int = 60_000
    lock_ms_max: int = 10_000
    connection_age_s_max: int = 1800
    attempts_max: int = 6
    backoff_ms: int = 10
    ready_s_max: float = 2.0
