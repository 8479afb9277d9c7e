"""`python -m engine models ...`: list, info, pull, verify, import, remove. Only `pull` touches the network.

With --json, standard output carries JSON only: one value, or one line for each step and the result or `Failed` last.
"""
from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import CHOOSE, ModelError, Remedy, SoraError
from ..protocol import Failed, write
from . import catalogue, lock
from .store import ENVIRONMENT, Installed, Store, default_folder

models_app = typer.Typer(no_args_is_help=True, help="Models: what there is, what is here, download, check, import, remove.")
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output")]
Folder = Annotated[Path | None, typer.Option("--folder", envvar=ENVIRONMENT, help="The models folder")]
LockFile = Annotated[Path | None, typer.Option("--lock", envvar=lock.ENVIRONMENT, help=f"A lock file shared with others; otherwise {lock.NAME} in the models folder")]
Name = Annotated[str, typer.Argument(help="A model's name, as `list` shows it")]


@models_app.command(name="list")
def list_models(family: Annotated[str, typer.Option(help="Only this family's")] = "", folder: Folder = None, as_json: AsJson = False) -> int:
    """List the catalogue and what is installed."""
    store = Store(folder or default_folder())

    def listed():
        from .pull import free_space

        here = {model.name: model for model in store.installed()}
        names = [entry.name for entry in catalogue.entries()] + [name for name in here if name not in _catalogued()]
        rows = [_facts(name, here) | _standing(name, here, store) for name in names]
        return {"folder": str(store.folder), "free": free_space(store.folder), "trash": store.thrown_away(), "problems": store.problems,
                "models": [row for row in rows if not family or row["family"] == family]}

    return _answer(listed, as_json, _table)


@models_app.command()
def info(name: Name, folder: Folder = None, lock_file: LockFile = None, as_json: AsJson = False) -> int:
    """Say everything known of one model: repository, licence, size, sources, files."""
    store = Store(folder or default_folder())

    def facts():
        from .pull import free_space

        row = _facts(name, {model.name: model for model in store.installed()})
        if not row["family"]:
            catalogue.entry(name)           # raises, with the names that there are
        locked = lock.read(_lock(lock_file, store)).get(name)
        return {**row, "locked": dataclasses.asdict(locked) if locked else None, "free": free_space(store.folder)}

    return _answer(facts, as_json, _sheet)


@models_app.command()
def pull(name: Name, folder: Folder = None, lock_file: LockFile = None,
         accept: Annotated[str, typer.Option("--accept-licence", help="The licence's short name, once you have read it")] = "",
         endpoint: Annotated[str, typer.Option(help="Another hub or mirror; otherwise HF_ENDPOINT, or the public hub")] = "",
         update: Annotated[bool, typer.Option("--update", help="The newest revision instead of the locked one")] = False,
         ask: Annotated[bool, typer.Option("--ask", help="Only say what would be downloaded, under which licence")] = False,
         as_json: AsJson = False) -> int:
    """Download a model, or go on with a download."""
    def steps():
        from . import pull as pulling
        from .hub import Hub

        store, hub, entry = Store(folder or default_folder()), Hub(endpoint), catalogue.entry(name)
        planned = pulling.plan(entry, hub, _lock(lock_file, store), update)
        facts = {"type": "Plan", "model": name, "repository": entry.repository, "revision": planned.revision, "licence": planned.licence,
                 "size": planned.size, "missing": pulling.missing(planned, store), "free": pulling.free_space(store.folder)}
        yield facts
        if ask:
            return {"type": "Asked", "name": name}
        pulling.agree(planned, store, accept)
        return (yield from pulling.pull(planned, store, hub, _lock(lock_file, store)))

    return _watch(steps, as_json, about=name)


@models_app.command()
def verify(name: Annotated[str, typer.Argument(help="A model's name; all of them without one")] = "", folder: Folder = None,
           lock_file: LockFile = None, as_json: AsJson = False) -> int:
    """Read every byte of the models again and compare."""
    def steps():
        from .verify import verify as verifying

        store, wrong = Store(folder or default_folder()), []
        models = [store.named(name)] if name else store.installed()
        for model in models:
            wrong += yield from verifying(model, store, _lock(lock_file, store))
        if wrong or not name and store.problems:
            raise ModelError(" ".join([*wrong, *([] if name else store.problems)]), Remedy(action="get_model" if name in _catalogued() else "choose_model", label="Pull Again", value=name))
        return {"type": "Verified", "models": [model.name for model in models]}

    return _watch(steps, as_json)


@models_app.command(name="import")
def import_model(source: Annotated[Path, typer.Argument(help="A diffusers folder, a safetensors or a GGUF file")],
                 folder: Folder = None,
                 family: Annotated[str, typer.Option(help="Whose it is; found out where it can be")] = "",
                 name: Annotated[str, typer.Option(help="What it will be called")] = "",
                 licence: Annotated[str, typer.Option(help="Its licence, as far as you know")] = "",
                 link: Annotated[bool, typer.Option("--link", help="Leave the files where they are")] = False,
                 lora: Annotated[bool, typer.Option("--lora", help="It is a LoRA")] = False,
                 trigger: Annotated[list[str] | None, typer.Option(help="LoRA: a word that calls it up; may be given several times")] = None,
                 strength: Annotated[float, typer.Option(help="LoRA: how strongly it is meant to be used")] = 1.0,
                 base: Annotated[str, typer.Option(help="A transformer in one file: the model that has the rest")] = "",
                 component: Annotated[str, typer.Option(help="A transformer in one file: transformer_2 for the second of two experts")] = "",
                 as_json: AsJson = False) -> int:
    """Take in a model, a LoRA or a decoder of previews (TAEHV) that is already on this machine."""
    def steps():
        from .importing import Given, bring

        given = Given(name=name, family=family, licence=licence, link=link, lora=lora, triggers=tuple(trigger or ()), strength=strength,
                      base=base, component=component)
        return (yield from bring(source, Store(folder or default_folder()), given))

    return _watch(steps, as_json)


@models_app.command()
def remove(name: Annotated[str, typer.Argument(help="A model's name; not needed with --empty-trash")] = "", folder: Folder = None,
           now: Annotated[bool, typer.Option("--now", help="Delete instead of moving to the trash")] = False,
           empty: Annotated[bool, typer.Option("--empty-trash", help="Delete what was removed before")] = False, as_json: AsJson = False) -> int:
    """Move a model to the models folder's trash, or delete what an interrupted download left of it."""
    def removed():
        from . import pull as pulling

        store = Store(folder or default_folder())
        if not name and not empty:
            raise ModelError("Say which model to remove.", CHOOSE)
        begun = bool(name) and name not in [model.name for model in store.installed()] and pulling.begun(name, store)
        if begun:
            pulling.forget(name, store)
        trash = store.remove(name, now) if name and not begun else None
        freed = store.empty_trash() if empty else 0
        return {"removed": name, "trash": str(trash or ""), "freed": freed}

    return _answer(removed, as_json, lambda facts: f"{facts['removed'] or 'Trash'}: {facts['trash'] or 'deleted'}")


# ---------------------------------------------------------------- facts
def _catalogued() -> set[str]:
    return {entry.name for entry in catalogue.entries()}


def _lock(lock_file: Path | None, store: Store) -> Path:
    return lock_file.expanduser() if lock_file else store.folder / lock.NAME


def _facts(name: str, here: dict[str, Installed]) -> dict:
    """One row: the catalogue's entry and what is installed, either of which may be missing."""
    model = here.get(name)
    row = {"name": name, "family": model.family if model else "", "kind": model.kind if model else "", "label": model.label if model else "",
           "catalogue": None, "installed": None}
    if name in _catalogued():
        entry = catalogue.entry(name)
        row |= {"family": entry.family, "kind": entry.kind, "label": entry.label, "catalogue": dataclasses.asdict(entry)}
    if model:
        fields = {key: value for key, value in dataclasses.asdict(model).items() if key not in ("folder", "beside", "name", "family")}
        row["installed"] = {**fields, "folder": str(model.folder), "size": model.size}
    return row


def _standing(name: str, here: dict[str, Installed], store: Store) -> dict:
    """Whether the model is installed, partial, damaged or absent, at a look; what is wrong; what was accepted."""
    from .pull import accepted, begun

    wrong = store.glance(here[name]) if name in here else store.broken.get(name, "")
    partial = begun(name, store)
    state = "installed" if name in here and not wrong else "partial" if partial else "damaged" if wrong else "absent"
    return {"state": state, "wrong": wrong, "partial": partial, "accepted": accepted(name, store)}


# ---------------------------------------------------------------- showing
def _answer(ask, as_json: bool, show) -> int:
    """Runs `ask` and prints what it returns; the exit code."""
    try:
        facts = ask()
    except SoraError as error:
        return _failed(error, as_json)
    typer.echo(json.dumps(facts, ensure_ascii=False) if as_json else show(facts))
    return 0


def _watch(steps, as_json: bool, about: str = "") -> int:
    """Runs the generator `steps`, showing each step and what it returns; the exit code. Trying again means the model `about`."""
    from .showing import Shown

    try:
        with Shown(as_json) as shown:
            result = _run(steps(), shown)
    except SoraError as error:
        if error.remedy and error.remedy.action == "get_model" and not error.remedy.value:
            error.remedy = dataclasses.replace(error.remedy, value=about)
        return _failed(error, as_json)
    if isinstance(result, Installed):
        result = {"type": "Installed", **{key: getattr(result, key) for key in ("name", "family", "kind", "size", "revision", "triggers", "strength")},
                  "path": str(result.path)}
    typer.echo(json.dumps(result, ensure_ascii=False) if as_json else f"{result.get('name') or ', '.join(result.get('models', ()))}: done")
    return 0


def _run(steps, shown):
    """Shows every step; what the generator returns."""
    while True:
        try:
            shown(next(steps))
        except StopIteration as end:
            return end.value


def _failed(error: SoraError, as_json: bool) -> int:
    if as_json:
        sys.stdout.write(write(Failed.of("", error)))
    else:
        typer.echo(error.sentence, err=True)
    return 2 if error.bad_request else 1


def _table(facts: dict) -> str:
    lines = [f"Models folder: {facts['folder']}"]
    for row in facts["models"]:
        entry, model = row["catalogue"], row["installed"]
        size = _bytes(model["size"]) if model else _bytes(entry["size"]) if entry["size"] else "size unverified"
        licence = model["licence"] if model else entry["licence"]["id"] + ("?" if "licence" in entry["unverified"] else "")
        lines.append(f"{'here' if model else '':5}{row['name']:28}{row['family']:11}{size:16}{licence:20}{row['label']}")
    return "\n".join(lines + facts["problems"])


def _sheet(facts: dict) -> str:
    lines, entry, model = [f"{facts['name']}: {facts['label']} ({facts['family']}, {facts['kind']})"], facts["catalogue"], facts["installed"]
    if entry:
        licence, size = entry["licence"], f"{_bytes(entry['size'])} ({entry['size_source']})" if entry["size"] else "unverified"
        lines += [f"repository  {entry['repository']}  ({entry['source']})", f"size        {size}",
                  f"licence     {licence['id']}: {licence['label']}  {licence['text']}  ({licence['source']})",
                  f"            {licence['note']}".rstrip(), f"unverified  {', '.join(entry['unverified']) or 'nothing'}"]
    if facts["locked"]:
        lines.append(f"locked      revision {facts['locked']['revision']}, {len(facts['locked']['files'])} files")
    where = f"{model['link'] or model['folder']}, {_bytes(model['size'])}, {len(model['files'])} files" if model else "no"
    lines.append(f"here        {where}")
    return "\n".join([*filter(None, lines), f"free        {_bytes(facts['free'])}"])


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
