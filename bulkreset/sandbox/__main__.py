"""Run a sandbox as `python -m bulkreset.sandbox`; its address is the one line of JSON on stdout."""

import argparse
import asyncio
import json
import sys
from pathlib import Path

from bulkreset.sandbox import SpecError, TenantSpec, load_specs, serve


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments, serve until a signal comes, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bulkreset.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument("--spec", type=Path, help="a JSON file with the tenants to begin with")
    options = parser.parse_args(arguments)
    try:
        tenants: list[TenantSpec] = load_specs(options.spec) if options.spec else []
        asyncio.run(serve(options.host, options.port, tenants, _announce))
    except (SpecError, OSError) as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 2
    return 0


def _announce(url: str) -> None:
    sys.stdout.write(json.dumps({"url": url}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
