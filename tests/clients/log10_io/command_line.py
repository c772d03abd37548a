"""Runs commands of the `log10` command line, one for each line of standard input, in the environment of that package.

Starting it anew for each would take longer than all that the commands do.
"""

import json
import sys

from click.testing import CliRunner
from log10.cli.cli_commands import cli  # type: ignore[import-not-found]

for line in sys.stdin:
    ran = CliRunner().invoke(cli, json.loads(line))
    result = {"exit_code": ran.exit_code, "output": ran.output, "raised": repr(ran.exception)}
    print(json.dumps(result), flush=True)
