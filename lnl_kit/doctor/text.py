"""What `examine` found, as a page of text."""

from __future__ import annotations


def text(found: dict) -> str:
    """What `examine` found, as a page of text."""
    kit, threads = found["lnl_kit"], found["threads"]
    versions = ", ".join(
        f"{n} {v}" for n, v in found["packages"].items() if v and n in ("torch", "torchvision", "numpy")
    )
    there = sum(v is not None for v in found["packages"].values())
    lines = [
        f"lnl-kit {kit['version']} from {kit['from']}, {kit['at']}",
        f"Python {found['python']['version']}, {found['python']['at']}; {found['system']}",
        f"packages   {there} of {len(found['packages'])} that are needed: {versions}",
    ]
    for device in found["devices"]:
        lines.append(f"{device['name']:<10} {device['model']}{abilities(device)}")
    usable = threads.get("quota", threads.get("usable", threads["cpus"]))
    of_torch = f"{threads['torch']} of torch, " if "torch" in threads else ""
    lines.append(f"threads    {of_torch}{usable} of {threads['cpus']} cores are usable")
    for name, told in found["folders"].items():
        size = f"{'' if told['counted_whole'] else 'more than '}{told['mb']:g} MB in {told['files']} files"
        lines.append(
            f"{name:<10} {told['at']}: {size if told['there'] else 'not made yet'}; the disk is "
            f"{told['disk_full']:.0%} full, {told['disk_free_gb']:g} GB are free"
        )
    for name, some in (
        ("extras", {k: v["there"] for k, v in found["extras"].items()}),
        ("data sets", found["data"]),
    ):
        lines.append(f"{name:<10} " + (", ".join(k for k, is_there in some.items() if is_there) or "none"))
    lines.append(f"notebooks  {found['notebooks']['number']} in {found['notebooks']['at']}")
    lines += [f"{name}={value}" for name, value in found["environment"].items()]
    for heading, some in (
        ("missing, and needed:", found["needed"]),
        ("not here, and not needed:", found["optional"]),
    ):
        if some:
            width = min(44, max(len(entry["what"]) for entry in some))
            lines += ["", heading, *(f"  {entry['what']:<{width}}  {entry['get']}" for entry in some)]
    if any("data page" in entry["get"] for entry in found["optional"]):
        lines.append(f"the data page: {found['data_page']}")
    return "\n".join(
        [*lines, "", "something needed is missing" if found["needed"] else "all that is needed is here"]
    )


def abilities(device: dict) -> str:
    """What a device has, in words."""
    said = f", {device['free_gb']:g} GB of memory free" if "free_gb" in device else ""
    if "bf16_in_hardware" in device:
        said += f"; bfloat16 {'in hardware' if device['bf16_in_hardware'] else 'not in hardware'}"
    if "bf16_times_as_fast" in device:
        said += f" (a matrix product is {device['bf16_times_as_fast']:g} times as fast as in float32)"
    return said
