"""The command that looks into a pair store and cares for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.command import Debug, Json, run_command

_EXAMPLES = """Example: skyscale pairs my-store --rejected

Name what a model is trained on, and see what came after: skyscale pairs my-store --tag v1;
skyscale pairs my-store --since v1

Once a week: skyscale pairs my-store --compact --expire --verify"""


def add_to(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(pairs)


def pairs(
    store: Annotated[str, typer.Argument(help="Folder or s3:// URL of the pair store.")],
    version: Annotated[
        str | None, typer.Option(help="As of this version: a number or a tag.")
    ] = None,
    rejected: Annotated[bool, typer.Option(help="List what was refused, and why.")] = False,
    versions: Annotated[bool, typer.Option(help="List the versions and their tags.")] = False,
    since: Annotated[
        str | None, typer.Option(help="Say what was added, removed and replaced after a version.")
    ] = None,
    tag: Annotated[
        str | None, typer.Option(help="Name the version; it is kept until it is untagged.")
    ] = None,
    untag: Annotated[str | None, typer.Option(help="Forget a name.")] = None,
    remove_scene: Annotated[
        str | None, typer.Option(help="Remove all pairs of a scene, and keep it out.")
    ] = None,
    readmit_scene: Annotated[
        str | None, typer.Option(help="Let a removed scene in again at the next ingest.")
    ] = None,
    verify: Annotated[
        bool, typer.Option(help="Read every row and pixel again; exit status 1 where damaged.")
    ] = False,
    repair: Annotated[
        bool, typer.Option(help="With --verify: forget what is damaged; ingest makes it anew.")
    ] = False,
    compact: Annotated[bool, typer.Option(help="Join small parts into large ones.")] = False,
    expire: Annotated[
        bool, typer.Option(help="Remove old versions without a tag, and what only they had.")
    ] = False,
    keep_days: Annotated[
        float, typer.Option(help="With --expire: keep what was the newest so long ago.")
    ] = 7.0,
    dry_run: Annotated[bool, typer.Option(help="With --expire: only say what would go.")] = False,
    export_png: Annotated[
        Path | None, typer.Option(help="Write pictures of pairs into this folder.")
    ] = None,
    export_webdataset: Annotated[
        Path | None, typer.Option(help="Write tar shards of pairs into this new folder.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what a store holds, and care for it."""
    options = {k: v for k, v in locals().items() if k not in ("json", "debug")}
    found: dict[str, Any] = {}

    def work() -> dict[str, Any]:
        from flows.pairs import PairsRequest, describe_store

        found.update(describe_store(PairsRequest(**options)))
        return found

    run_command(work, json=json, debug=debug, tell=_tell)
    if not found.get("verify", {"well": True})["well"]:
        raise typer.Exit(1)


def _tell(r: dict[str, Any]) -> list[str]:
    names = f" ({', '.join(r['tags'])})" if r["tags"] else ""
    lines = [
        f"{r['store']}: {r['pairs']} pairs, version {r['version']}{names}, "
        f"bands {', '.join(r['bands'])}",
        f"  splits: {_counts(r['splits'])}",
        *_balance_lines(r["balance"], r["pairs"]),
        *_chip_lines(r),
        f"  rejected: {_counts(r['rejected'])}",
        f"  digest: {r['digest']}",
    ]
    lines += [f"  {_refusal_line(row)}" for row in r.get("rejections", [])]
    lines += [f"  {_version_line(commit)}" for commit in r.get("versions", [])]
    return lines + _tell_care(r)


def _chip_lines(r: dict[str, Any]) -> list[str]:
    """Chips without partners, and pairs whose LR images are derived, where there are any."""
    lines = []
    if r["derived"]:
        lines.append(
            f"  of these with derived LR images, for training alone: {_counts(r['derived'])}"
        )
    for side, splits in r["chips"].items():
        if splits:
            total = sum(splits.values())
            lines.append(f"  {side.upper()} chips without partners: {total} ({_counts(splits)})")
    return lines


def _tell_care(r: dict[str, Any]) -> list[str]:
    lines = []
    if since := r.get("since"):
        split = _counts(since["added_by_split"])
        lines.append(
            f"Since version {since['first']}: {since['added']} added ({split}), "
            f"{since['removed']} removed, {since['replaced']} replaced"
        )
    if tag := r.get("tag"):
        lines.append(f"Tag {tag['name']}: version {tag['version']}, {tag['pairs']} pairs")
    if removed := r.get("removed"):
        lines.append(
            f"Removed {removed['pairs']} pairs of {removed['scene']} (version "
            f"{removed['version']}); --readmit-scene lets it in again"
        )
    if readmitted := r.get("readmitted"):
        lines.append(f"{readmitted['scene']} comes back with the next ingest")
    if done := r.get("compact"):
        lines.append(
            f"Compacted: {done['parts_before']} parts to {done['parts_after']} "
            f"({done['pairs_moved']} pairs moved), {done['index_files_before']} files of the index "
            f"to {done['index_files_after']}"
        )
    if gone := r.get("expire"):
        would = "Would expire" if gone["dry_run"] else "Expired"
        lines.append(
            f"{would}: {gone['parts']} parts ({gone['bytes'] / 1e6:.1f} MB), "
            f"{gone['index_files']} files of the index; {gone['versions_kept']} versions kept, "
            f"from {gone['horizon']} on and tagged ones"
        )
    if verdict := r.get("verify"):
        state = "well" if verdict["well"] else f"{len(verdict['damages'])} damages"
        lines.append(f"Verified {verdict['pairs']} pairs, {verdict['rows']} rows: {state}")
        lines += [f"  {d['identity']}: {d['what']}" for d in verdict["damages"]]
    for name in ("pictures", "webdataset"):
        if name in r:
            unused = r["pairs"] - r[name]
            without = f", without {unused} between the splits" if unused else ""
            lines.append(f"Wrote {r[name]} pairs as {name}{without}")
    return lines


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {what}" for what, n in counts.items()) or "none"


def _balance_lines(balance: dict[str, dict[str, int]], pairs: int) -> list[str]:
    """A line for each category, the rarest first: what is rare, and whether all splits have it."""
    if set(balance) <= {"none"}:
        return ["  categories: none"]
    rarest = sorted(balance.items(), key=lambda item: sum(item[1].values()))
    return [
        f"  {name}: {sum(counts.values()) / pairs:.1%} ({_counts(counts)})"
        for name, counts in rarest
    ]


def _version_line(commit: dict[str, Any]) -> str:
    tags = f" [{', '.join(commit['tags'])}]" if commit["tags"] else ""
    return f"version {commit['version']}, {commit['time']}, by {commit['by']}{tags}"


def _refusal_line(row: dict[str, Any]) -> str:
    who = " + ".join(v for v in (row["satellite_id"], row["aerial_id"]) if v)
    cell = "" if row["row"] is None else f" cell {row['row']},{row['col']}"
    limit = "" if row["limit"] is None else f" against {row['limit']:g}"
    value = "" if row["value"] is None else f" {row['value']:.3g}{limit}"
    detail = f": {row['detail']}" if row["detail"] else ""
    return f"{who}{cell}: {row['reason']}{value}{detail}"
