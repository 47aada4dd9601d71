"""What bench.http compares the service with: endpoints that do nothing but statements, as many and of the same kinds."""

import json
import os
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from sqlalchemy import JSON, String, delete, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from ulid import ULID

from app.db.session import Database, now

Script = Sequence[Sequence[str]]  # transactions of verbs, as `bench.http` recorded them
SCRIPTS = "DAPPLE_BENCH_SCRIPTS"


class Base(DeclarativeBase):
    pass


class BareRow(Base):
    __tablename__ = "bench_bare"

    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    parent: Mapped[str | None] = mapped_column(String(26), index=True)
    body: Mapped[dict[str, Any]] = mapped_column(JSON)
    at: Mapped[float]


def create_app() -> FastAPI:
    """One endpoint for each script; the database is the service's, with its engine, pool and sessions."""
    app = FastAPI()
    database = Database(os.environ["DAPPLE_DATABASE_URL"])
    scripts: dict[str, Script] = json.loads(os.environ[SCRIPTS])

    @app.post("/post", status_code=202)
    def post(body: dict[str, Any]) -> dict[str, str]:
        return {"id": replay(database, scripts["post"], str(ULID()), body)}

    @app.get("/get/{row_id}")
    def get(row_id: str) -> dict[str, str]:
        return {"id": replay(database, scripts["get"], row_id, {})}

    return app


def replay(database: Database, script: Script, row_id: str, body: dict[str, Any]) -> str:
    """Make these transactions; the row `row_id` is what the first of them inserts and the others look for."""
    new_id = row_id
    for verbs in script:
        with database.reading() if set(verbs) == {"SELECT"} else database.transaction() as session:
            for verb in verbs:
                new_id = _statement(session, verb, row_id, new_id, body)
    return row_id


def _statement(session: Session, verb: str, row_id: str, new_id: str, body: dict[str, Any]) -> str:
    match verb:
        case "INSERT":
            session.add(BareRow(id=new_id, parent=None if new_id == row_id else row_id, body=body, at=now()))
            session.flush()
            return str(ULID())
        case "SELECT":
            session.scalars(select(BareRow).where(BareRow.id == row_id)).all()
        case "UPDATE":
            session.execute(update(BareRow).where(BareRow.id == row_id).values(at=now()))
        case "DELETE":
            session.execute(delete(BareRow).where(BareRow.id == new_id))
        case _:
            raise ValueError(f"no such statement: {verb}")
    return new_id
