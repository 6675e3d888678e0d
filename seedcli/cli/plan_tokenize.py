"""`seed plan tokenize`: the same question as of a recipe, of a job of pictures."""

from typing import Any

from seedcli.console import console
from seedcli.errors import UsageError

TOKENIZE = "tokenize"  # stands where a recipe does


def plan_tokenize(
    images: str | None,
    *,
    gpus: str,
    model: str,
    dtype: str,
    utilisation: float | None,
    image_bytes: int | None,
) -> None:
    """Prints what tokenising so many pictures takes.

    Raises:
        UsageError: No number of pictures, or a device that is not known.
    """
    from seedcli.workflows.bench.plan import run
    from seedcli.workflows.train.plan import parse_devices

    if images is None:
        raise UsageError("--images says how many pictures", remedy="--images 500M")
    console.result(
        run(
            images,
            gpus=parse_devices(gpus),
            model=model,
            dtype=dtype,
            utilisation=utilisation,
            image_bytes=image_bytes,
            reporter=console,
        ),
        human=_show,
    )


def _show(plan: dict[str, Any]) -> str:
    read, write, devices = plan["read"], plan["write"], plan["devices"]
    lines = [
        f"seed tokenize with {plan['model']} in {plan['dtype']} on {devices['count']} x "
        f"{devices['kind']}: {plan['images']:,} pictures of {plan['gflop_per_image']:,.4g} GFLOP",
        f"{plan['images_per_s_per_device']:,.1f} pictures/s on each ({plan['rate_source']}), "
        f"{plan['images_per_s']:,.0f}/s together",
        "",
        f"read    {_bytes(read['gb'])}, {read['mb_per_s']:,.1f} MB/s; a picture is "
        f"{read['bytes_per_image'] / 1000:,.1f} kB ({read['source']})",
        f"write   {_bytes(write['gb'])}, {write['mb_per_s']:,.2f} MB/s; a row is "
        f"{write['bytes_per_image']:,.0f} bytes ({write['source']})",
    ]
    if plan["decode"] is None:
        lines.append("decode  not measured here: seed bench tokenize says how many cores it takes")
    else:
        lines.append(
            f"decode  {plan['decode']['cores_per_device']:,.1f} cores for each, at "
            f"{plan['decode']['images_per_s_per_core']:,.0f} pictures/s a core "
            f"({plan['decode']['source']})"
        )
    return "\n".join(
        [*lines, "", f"In all {plan['hours']:,.2f} h: {plan['device_hours']:,.1f} device hours."]
    )


def _bytes(gigabytes: float) -> str:
    return f"{gigabytes / 1000:,.2f} TB" if gigabytes >= 1000 else f"{gigabytes:,.2f} GB"
