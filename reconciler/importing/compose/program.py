"""`docker compose config`: what Compose itself makes of files, where it is installed."""

from __future__ import annotations

import json
import subprocess
from typing import Final

from reconciler.importing.compose.read import Asked
from reconciler.settings import program_environment

_TIMEOUT_S: Final = 60.0


def printed(asked: Asked) -> tuple[object, str]:
    """Return the merged project as JSON, and what the program complained of instead; None and "" where it is not installed."""
    try:
        if _run("version", "--short").returncode:
            return None, ""
        found = _run(*_arguments(asked), "config", "--format", "json")
    except FileNotFoundError:
        return None, ""
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    if found.returncode:
        return None, (found.stderr.strip().splitlines() or ["it failed"])[-1]
    try:
        return json.loads(found.stdout), ""
    except ValueError:
        return None, "what it printed is no JSON"


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ("docker", "compose", *arguments),
        env=program_environment({}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_TIMEOUT_S,
        check=False,
    )


def _arguments(asked: Asked) -> list[str]:
    found = [argument for file in asked.files for argument in ("--file", file)]
    found += [argument for profile in asked.profiles for argument in ("--profile", profile)]
    found += [argument for file in asked.env_files for argument in ("--env-file", file)]
    found += ["--project-name", asked.project] if asked.project else []
    return found + (["--project-directory", asked.folder] if asked.folder else [])
