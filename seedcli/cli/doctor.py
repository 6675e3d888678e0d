"""`seed doctor`: what an answer to a bug report needs to know about this machine."""

from seedcli.console import console


def doctor() -> None:
    """Report versions, hardware, bundled files and cache folders.

    \b
    Example:
      seed doctor
      seed doctor --json > doctor.json
    """
    from seedcli.workflows.doctor import examine

    console.result(examine())
