"""`log10-server export` and `log10-server import`."""

import os

import click

from log10_server.cli.databases import find_organization, open_existing
from log10_server.cli.errors import reports_errors
from log10_server.settings import Settings


@click.command("export")
@click.argument("organization", required=False)
@click.option(
    "--output", type=click.Path(dir_okay=False), help="Write to this file; compressed when its name ends in .gz."
)
@click.option("--training", is_flag=True, help="Export chat fine-tuning rows in OpenAI's format instead.")
@click.option(
    "--task", "task_id", help="With --training: export the completions that have accepted feedback for this task."
)
@click.option(
    "--filter", "filter_text", help="With --training: a condition on the feedback's values, such as 'grade >= 4'."
)
@reports_errors
def export_data(
    organization: str | None, output: str | None, training: bool, task_id: str | None, filter_text: str | None
) -> None:
    """Export everything of ORGANIZATION as JSON Lines.

    ORGANIZATION is an id or a slug; leave it out when there is only one organization.
    """
    from log10_server.cli import transfer_files  # slow to import, and other commands don't need it

    if training != (task_id is not None) or (filter_text is not None and not training):
        raise click.UsageError("Use --training and --task together; --filter can be added to them.")
    with open_existing() as database:
        owner = find_organization(database, organization)
        if task_id is None:
            transfer_files.export_all(database, owner.id, output)
        else:
            transfer_files.export_training(database, owner.id, task_id, filter_text, output)


@click.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--organization", help="Id or slug of the organization; leave it out when there is only one organization."
)
@reports_errors
def import_data(files: tuple[str, ...], organization: str | None) -> None:
    """Import each FILE that `log10-server export`, `log10 completions download` or `log10 feedback download` wrote.

    Ids, times, tags and links are kept. A file may be imported again: rows that are stored already are not
    changed, so an interrupted import continues when it is started again. Import completions before the feedback on them.
    """
    from log10_server.cli import transfer_files  # slow to import, and other commands don't need it

    settings = Settings.from_environment(os.environ)
    with open_existing(settings) as database:
        transfer_files.import_files(database, find_organization(database, organization).id, settings.limits, files)
