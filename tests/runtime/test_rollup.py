"""The background loop works for all organizations, also while one of them always has more to do."""

import asyncio

from log10_server.db.database import Connection, Database
from log10_server.db.transaction import Tx
from log10_server.runtime.runtime import Runtime
from log10_server.services import ungraded_index
from log10_server.settings import Settings
from tests.conftest import Organization, new_organization


class EndlessWork:
    """A rule by which one organization always has a further piece, and every other one has one piece."""

    def __init__(self, busy: str) -> None:
        self.busy = busy
        self.done: list[str] = []

    def list_organizations(self, _connection: Connection) -> list[str]:
        return [self.busy]

    def is_behind(self, tx: Tx) -> bool:
        return tx.organization_id == self.busy or tx.organization_id not in self.done

    def advance(self, tx: Tx) -> bool:
        self.done.append(tx.organization_id)
        return tx.organization_id == self.busy


def test_an_organization_with_endless_work_does_not_keep_others_from_being_rolled_up(
    database: Database, organization: Organization
) -> None:
    """The organizations that had been written to were looked at again only when none was behind any more."""
    rule = EndlessWork(organization.id)
    other = new_organization(database)

    async def story() -> None:
        runtime = Runtime(Settings(), database, ungraded_index.continue_backfill, rule)
        runtime.start()
        try:
            async with asyncio.timeout(30):
                while len(rule.done) < 3:
                    await asyncio.sleep(0.01)
                runtime.rollup.note(other.id)
                while other.id not in rule.done:
                    await asyncio.sleep(0.01)
        finally:
            await runtime.close()

    asyncio.run(story())

    assert rule.done.count(other.id) == 1
