"""Imports, the LoRA library, verify, remove, and folders that move."""
from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.engine.models_stage import INDEX, NAME, WEIGHTS, command, failure, last, make_model, models

from engine.errors import ModelError
from engine.models.store import Store, digest, resolve


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def source(tmp_path):
    return make_model(tmp_path / "My Wan Folder")


def taken(folder, *arguments):
    answer = models("import", *arguments, "--folder", folder)
    assert answer.returncode == 0, answer.stdout
    return last(answer)


def lora(path, names=("diffusion_model.blocks.0.self_attn.q.lora_A.weight", "diffusion_model.blocks.0.self_attn.q.lora_B.weight"), width=1536):
    save_file({name: np.zeros((4, width) if "A" in name or "down" in name else (width, 4), np.float32) for name in names}, path)
    return path


def checkpoint(path, names=("model.diffusion_model.head.modulation",), width=1536):
    tensors = {name: np.zeros(4, np.float32) for name in names}
    save_file({**tensors, "model.diffusion_model.patch_embedding.weight": np.zeros((width, 16), np.float32)}, path)
    return path


# ---------------------------------------------------------------- imports
def test_a_folder_is_copied_and_found(folder, source):
    said = taken(folder, source)
    assert (said["name"], said["family"], said["kind"]) == ("my-wan-folder", "wan", "diffusers")
    shutil.rmtree(source)
    assert resolve("wan", "my-wan-folder", folder) == folder / "my-wan-folder"
    assert last(models("verify", "--folder", folder))["models"] == ["my-wan-folder"]


def test_a_linked_folder_stays_where_it_is(folder, source):
    taken(folder, source, "--link", "--name", "wan2.1-t2v-1.3b")
    assert resolve("wan", "wan2.1-t2v-1.3b", folder) == source
    assert not list(folder.rglob("*.safetensors"))
    models("remove", "wan2.1-t2v-1.3b", "--now", "--folder", folder)
    assert (source / WEIGHTS).exists(), "removing a link leaves the files alone"


def test_a_linked_folder_that_moved_is_found_again(folder, source, tmp_path):
    taken(folder, source, "--link", "--name", "linked")
    make_model(tmp_path / "another wan", size=100)
    moved = source.rename(tmp_path / "Renamed")
    assert resolve("wan", "linked", folder) == moved
    assert json.loads((folder / "linked" / "sora.json").read_text())["link"] == str(moved)


def test_a_drive_that_moved_with_everything_on_it_is_found_again(tmp_path):
    drive = tmp_path / "drive"
    taken(drive / "models", make_model(drive / "deep" / "er" / "wan"), "--link", "--name", "linked")
    drive.rename(tmp_path / "mounted")
    assert resolve("wan", "linked", tmp_path / "mounted/models") == tmp_path / "mounted/deep/er/wan"


def test_what_was_pulled_and_is_damaged_is_to_be_pulled_again(folder, source):
    taken(folder, source, "--name", "mine")
    kept = Store(folder)
    of_the_hub = replace(kept.named("mine"), name=NAME, repository="Wan-AI/Wan2.1-T2V-1.3B-Diffusers")
    for model, way in ((kept.named("mine"), ("choose_model", "weights")), (of_the_hub, ("get_model", NAME))):
        (model.root / WEIGHTS).write_bytes(b"cut short")
        with pytest.raises(ModelError, match="where it had") as raised:
            kept.check(model)
        assert (raised.value.remedy.action, raised.value.remedy.value) == way


def test_a_linked_folder_that_is_gone_is_said(folder, source):
    taken(folder, source, "--link", "--name", "linked")
    shutil.rmtree(source)
    with pytest.raises(ModelError, match="not there any more") as raised:
        resolve("wan", "linked", folder)
    assert raised.value.remedy.action == "choose_model"
    assert last(models("list", "--folder", folder))["models"][-1]["name"] == "linked", "the list still works"


def test_the_models_folder_may_move_and_be_renamed(folder, source, tmp_path):
    taken(folder, source, "--name", "mine")
    folder.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/mine").rename(tmp_path / "elsewhere/Other Name")
    assert resolve("wan", "mine", tmp_path / "elsewhere") == tmp_path / "elsewhere/Other Name"
    with pytest.raises(ModelError, match="Was it moved") as raised:
        resolve("wan", "mine", folder)
    assert raised.value.remedy.action == "choose_folder"


@pytest.mark.parametrize(("tensor", "said"), [("audio_vae.per_channel_statistics.mean-of-means", "an autoencoder without its transformer"),
                                              ("decoder.middle.0.residual.0.gamma", "is an autoencoder alone")])
def test_an_autoencoder_alone_is_no_model(folder, tmp_path, tensor, said):
    refused = failure(models("import", checkpoint(tmp_path / "a vae [bf16].safetensors", (tensor,)), "--folder", folder))
    assert said in refused and "import the whole model's folder" in refused
    assert not Store(folder).installed()


def test_a_transformer_alone_is_nothing_to_shoot_with(folder, tmp_path):
    for name in ("wan.safetensors", "vace.safetensors"):
        more = ("model.diffusion_model.vace_blocks.0.after_proj.bias",) if name.startswith("vace") else ()
        assert "folded" in failure(models("import", checkpoint(tmp_path / name, ("model.diffusion_model.head.modulation", *more)), "--folder", folder))


def test_a_file_without_known_names_needs_a_family(folder, tmp_path):
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "odd.safetensors")
    assert "--family" in failure(models("import", tmp_path / "odd.safetensors", "--folder", folder))
    assert "nothing that is known" in failure(models("import", tmp_path / "odd.safetensors", "--family", "wan", "--folder", folder))


def test_a_checkpoint_of_another_family_is_refused(folder, tmp_path, source):
    assert "belongs to wan, skyreels, not to ltx2" in failure(models("import", checkpoint(tmp_path / "a.safetensors"), "--family", "ltx2", "--folder", folder))
    assert "belongs to wan, not to vace" in failure(models("import", source, "--family", "vace", "--folder", folder))
    assert "another --name" in failure(models("import", source, "--name", "ltx-2", "--folder", folder))


@pytest.mark.parametrize(("name", "said"), [("model.ckpt", "safetensors"), ("model.pt", "safetensors"), ("model.bin", "safetensors"), ("model.gguf", "GGUF")])
def test_other_files_are_refused(folder, tmp_path, name, said):
    (tmp_path / name).write_bytes(b"x" * 100)
    assert said in failure(models("import", tmp_path / name, "--family", "wan", "--folder", folder))


def test_bad_imports_leave_nothing_behind(folder, source, tmp_path):
    for arguments in ((tmp_path / "nowhere",), (source, "--name", "../up"), (source, "--name", "con"), (source, "--name", "."), (tmp_path,),
                      (source, "--strength", "nan"), (source, "--lora", "--strength", "99")):
        failure(models("import", *arguments, "--folder", folder))
    (source / "vae/evil.py").write_text("evil")
    assert "could run code" in failure(models("import", source, "--folder", folder))
    assert not folder.exists() or not [path for path in folder.iterdir() if not path.name.startswith(".")]


# ---------------------------------------------------------------- LoRA
def test_a_lora_keeps_its_words_and_strength(folder, tmp_path):
    said = taken(folder, lora(tmp_path / "Film Grain.safetensors"), "--lora", "--family", "wan", "--trigger", "grainy", "--trigger", "16 mm",
                 "--strength", "0.7")
    assert said["triggers"] == ["grainy", "16 mm"] and said["strength"] == 0.7 and said["kind"] == "lora"
    found, = Store(folder).loras("wan")
    assert found.name == "film-grain" and found.width == 1536 and found.path == folder / "film-grain/film-grain.safetensors"
    with pytest.raises(ModelError):
        resolve("wan", "", folder)      # a LoRA alone is no model


@pytest.mark.parametrize("names, families", [
    (("diffusion_model.blocks.0.self_attn.q.lora_down.weight",), {"wan", "vace", "skyreels"}),
    (("transformer.blocks.3.attn1.to_q.lora_A.default.weight",), {"wan", "vace", "skyreels"}),
    (("diffusion_model.vace_blocks.0.self_attn.q.lora_A.weight",), {"vace"}),
    (("diffusion_model.transformer_blocks.0.audio_attn1.to_k.lora_A.weight",), {"ltx2"}),
    (("transformer.blocks.0.cross_attn.q_linear.lora_A.weight",), {"sana_wm"}),
    (("blocks.3.attn.qkv.lora_A.weight", "blocks.3.attn.k_proj_cam.lora_A.weight"), {"sana_wm"}),
    (("lora_unet_blocks_0_self_attn_q.lora_down.weight",), {"wan", "vace", "skyreels"}),
    (("transformer.transformer_blocks.0.attn1.to_q.lora_A.weight",), {"ltx2", "cogvideox"})])
def test_a_lora_of_another_family_is_refused(folder, tmp_path, names, families):
    path = lora(tmp_path / "a.safetensors", names)
    for family in ("wan", "vace", "skyreels", "ltx2", "cogvideox", "sana_wm"):
        answer = models("import", path, "--lora", "--family", family, "--folder", folder)
        assert (answer.returncode == 0) == (family in families), answer.stdout
        if family not in families:
            assert "belongs to" in failure(answer)


def test_a_lora_and_a_checkpoint_are_not_taken_for_each_other(folder, tmp_path):
    assert "with --lora" in failure(models("import", lora(tmp_path / "a.safetensors"), "--family", "wan", "--folder", folder))
    assert "without --lora" in failure(models("import", checkpoint(tmp_path / "b.safetensors"), "--lora", "--family", "wan", "--folder", folder))


# ---------------------------------------------------------------- checks
def test_a_flipped_bit_is_seen_before_loading(folder, source):
    taken(folder, source, "--name", "mine")
    weights = folder / "mine" / WEIGHTS
    body = bytearray(weights.read_bytes())
    body[-1] ^= 1
    weights.write_bytes(body)
    with pytest.raises(ModelError, match="not the file that was checked in"):
        resolve("wan", "mine", folder)
    answer = models("verify", "mine", "--folder", folder)
    assert "other bytes" in failure(answer) and last(answer)["remedy"]["value"] == "mine"


def test_a_record_that_vouches_for_code_is_not_believed(folder, source):
    taken(folder, source, "--name", "mine")
    config, record = folder / "mine/vae/config.json", folder / "mine/sora.json"
    config.write_text('{"_class_name": ["vae", "Evil"]}')
    written = json.loads(record.read_text())
    kept = digest(config)
    written["files"]["vae/config.json"] = {"size": kept.size, "sha256": kept.sha256, "mtime": kept.mtime}
    record.write_text(json.dumps(written))
    with pytest.raises(ModelError, match="would load code"):
        resolve("wan", "mine", folder)


def test_a_silent_flip_is_found_by_verify(folder, source):
    taken(folder, source, "--name", "mine")
    weights = folder / "mine" / WEIGHTS
    facts, body = weights.stat(), bytearray(weights.read_bytes())
    body[-1] ^= 1
    weights.write_bytes(body)
    os.utime(weights, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert "other bytes" in failure(models("verify", "--folder", folder))


@pytest.mark.parametrize("spoil, sentence", [
    (lambda path: path.unlink(), "missing"), (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes where it had"),
    (lambda path: path.with_name("evil.py").write_text("x"), "could run code"), (lambda path: path.with_name("w.bin").write_text("x"), "could run code")])
def test_a_folder_that_changed_is_not_loaded(folder, source, spoil, sentence):
    taken(folder, source, "--name", "mine")
    spoil(folder / "mine" / WEIGHTS)
    with pytest.raises(ModelError, match=sentence):
        resolve("wan", "mine", folder)
    failure(models("verify", "mine", "--folder", folder))


def test_a_copy_with_other_times_is_read_once_and_trusted_again(folder, source):
    taken(folder, source, "--name", "mine")
    weights = folder / "mine" / WEIGHTS
    os.utime(weights, ns=(1, 1))
    assert resolve("wan", "mine", folder)
    assert json.loads((folder / "mine/sora.json").read_text())["files"][WEIGHTS]["mtime"] == 1


def test_a_stranger_among_the_files_is_named(folder, source):
    taken(folder, source, "--name", "mine")
    save_file({"a": np.zeros(1, np.float32)}, folder / "mine/vae/other.safetensors")
    assert "does not belong" in failure(models("verify", "mine", "--folder", folder))


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"version": 9}', '{"version": 1, "files": {"../x": {"size": 1, "sha256": "", "mtime": 0}}}'])
def test_a_damaged_record_is_said_and_the_others_still_work(folder, source, record):
    taken(folder, source, "--name", "mine")
    taken(folder, source, "--name", "other")
    (folder / "mine/sora.json").write_text(record)
    listed = last(models("list", "--folder", folder))
    assert "sora.json" in listed["problems"][0] and resolve("wan", "", folder) == folder / "other"
    failure(models("verify", "--folder", folder))


def test_a_damaged_lock_is_said(folder, source):
    taken(folder, source, "--name", "mine")
    (folder / "models.lock.json").write_text("{}")
    assert "lock" in failure(models("verify", "mine", "--folder", folder))


# ---------------------------------------------------------------- remove, list
def test_a_removed_model_lies_in_the_trash(folder, source):
    taken(folder, source, "--name", "mine")
    said = last(models("remove", "mine", "--folder", folder))
    assert (folder / ".trash") in [path for path in folder.iterdir()] and os.path.exists(os.path.join(said["trash"], WEIGHTS))
    failure(models("info", "mine", "--folder", folder))
    failure(models("remove", "mine", "--folder", folder))
    assert last(models("remove", "--empty-trash", "--folder", folder))["freed"] > 100_000 and not (folder / ".trash").exists()


def test_remove_now_deletes(folder, source):
    taken(folder, source, "--name", "mine")
    assert last(models("remove", "mine", "--now", "--folder", folder))["trash"] == ""
    assert not list(folder.rglob("*.safetensors"))


def test_importing_again_replaces_and_keeps_the_old_one_in_the_trash(folder, source):
    taken(folder, source, "--name", "mine")
    make_model(source, size=30_000)
    taken(folder, source, "--name", "mine")
    assert (folder / "mine" / WEIGHTS).stat().st_size < 130_000 and len(list((folder / ".trash").iterdir())) == 1


def test_the_list_and_the_sheet_say_what_is_here(folder, source):
    taken(folder, source, "--name", "wan2.1-t2v-1.3b", "--licence", "apache-2.0")
    rows = {row["name"]: row for row in last(models("list", "--folder", folder, "--family", "wan"))["models"]}
    assert rows["wan2.1-t2v-1.3b"]["installed"]["size"] > 0 and rows["wan2.1-t2v-14b"]["installed"] is None and "ltx-2" not in rows
    sheet = last(models("info", "wan2.1-t2v-1.3b", "--folder", folder))
    assert sheet["catalogue"]["licence"]["id"] == "apache-2.0" and sheet["free"] > 0 and "size" in sheet["catalogue"]["unverified"]


def test_the_command_line_answers_people_too(folder):
    answer = command("list", SORA_MODELS=str(folder))
    assert answer.returncode == 0 and json.loads(answer.stdout)["folder"] == str(folder)


def test_a_model_of_another_family_is_said(folder, source):
    taken(folder, source, "--name", "mine")
    with pytest.raises(ModelError, match="model of wan, not of vace"):
        resolve("vace", "mine", folder)
    with pytest.raises(ModelError, match="A model of ltx2 is not in"):
        resolve("ltx2", "", folder)


def test_pipelines_that_no_family_takes_are_said(folder, source):
    (source / "model_index.json").write_text(json.dumps({**INDEX, "_class_name": "FluxPipeline"}))
    assert "FluxPipeline" in failure(models("import", source, "--folder", folder))
