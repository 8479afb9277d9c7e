"""What plans say of activations, against tensors counted alive on the `meta` device, in the published shapes."""
import contextlib
import dataclasses
import weakref

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from engine import estimate, families, footprint, plan
from engine.diffusers_line import ltx2_stream, wan_tiles
from engine.device import Device
from engine.footprint import Given
from engine.protocol import DRAFTS, FIRST_BLOCK, Guide, Keyframe, Size, Span

WAN = dict(patch_size=(1, 2, 2), attention_head_dim=128, text_dim=4096, freq_dim=256, cross_attn_norm=True, qk_norm="rms_norm_across_heads")
SMALL, LARGE = {"num_attention_heads": 12, "ffn_dim": 8960}, {"num_attention_heads": 40, "ffn_dim": 13824}      # 1.3B and 14B, but for their layers
COG_VAE = dict(down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4, block_out_channels=(128, 256, 256, 512),
               layers_per_block=3, latent_channels=16, temporal_compression_ratio=4)
SIZE, LATENT = Size(832, 480), (60, 104)
FRAMES = 81
CARD = Device("cuda", "a card", "bfloat16", 2**40, 2**40)


class Fused(TorchFunctionMode):
    """Attention as a fused kernel has it in memory: its result alone."""

    def __torch_function__(self, function, types, arguments=(), named=None):
        named = named or {}
        if function is not torch.nn.functional.scaled_dot_product_attention:
            return function(*arguments, **named)
        query, value = (arguments[0], arguments[2]) if arguments else (named["query"], named["value"])
        return query.new_empty((*query.shape[:-1], value.shape[-1]))


class Alive(TorchDispatchMode):
    """Bytes of the storages that operations made and nobody has let go of, and the most there ever were."""

    def __init__(self):
        super().__init__()
        self._held, self.now, self.most = {}, 0, 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        given = {storage._cdata for storage in storages((arguments, named))}
        found = function(*arguments, **(named or {}))
        for storage in storages(found):
            if storage._cdata not in self._held and storage._cdata not in given:
                self._held[storage._cdata] = storage.nbytes()
                self.now += storage.nbytes()
                weakref.finalize(storage, self._gone, storage._cdata)
        self.most = max(self.most, self.now)
        return found

    def _gone(self, which: int) -> None:
        self.now -= self._held.pop(which, 0)


def storages(tree):
    return [tensor.untyped_storage() for tensor in tree_iter(tree) if isinstance(tensor, torch.Tensor)]


@contextlib.contextmanager
def counting():
    with torch.inference_mode(), Fused(), Alive() as alive:
        yield alive


def empty(*shape: int, dtype=torch.bfloat16):
    return torch.empty(shape, device="meta", dtype=dtype)


def made(folder, name: str, kind: type, dtype=torch.bfloat16, **settings):
    """A component without weights, and its configuration in `folder`."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("meta"):
            part = kind(**settings).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(before)
    if dtype is torch.bfloat16:
        for called, values in [*part.named_parameters(), *part.named_buffers()]:
            if set(kind._keep_in_fp32_modules or ()) & set(called.split(".")):
                values.data = values.data.float()
    part.save_config(folder / name)
    return part


def wan_vae(folder):
    from diffusers import AutoencoderKLWan
    return made(folder, "vae", AutoencoderKLWan, torch.float32)


def told(planned: int, counted: int) -> float:
    """Of what was counted, without the room that a plan leaves; 1 is exact."""
    return planned / footprint.ROOM / counted


EXACT = pytest.approx(1.0, abs=0.07)


# ---------------------------------------------------------------- transformers
@pytest.mark.parametrize(("shape", "timed"), [(SMALL, False), (LARGE, False), (SMALL, True), (LARGE, True)])
def test_a_step_of_wan(tmp_path, shape, timed):
    from diffusers import WanTransformer3DModel
    wan_vae(tmp_path)
    transformer = made(tmp_path, "transformer", WanTransformer3DModel, **WAN, **shape, num_layers=2)
    (tmp_path / "model_index.json").write_text('{"_class_name": "WanPipeline", "expand_timesteps": %s}' % str(timed).lower())
    with counting() as alive:
        transformer(empty(1, 16, 21, *LATENT), empty(1, 21 * 30 * 52) if timed else empty(1), empty(1, 512, 4096), return_dict=False)
    assert told(plan.need(tmp_path, CARD, FRAMES, SIZE.width * SIZE.height).sampling, alive.most) == EXACT


@pytest.mark.parametrize(("shape", "layers", "hints", "references"), [(LARGE, 8, 1, 0), (LARGE, 4, 1, 2), (LARGE, 8, 2, 0), (SMALL, 15, 3, 1)])
def test_a_step_of_vace_keeps_what_its_control_blocks_say(tmp_path, shape, layers, hints, references):
    from engine.diffusers_line.vace_transformer import Transformer
    wan_vae(tmp_path)
    transformer = made(tmp_path, "transformer", Transformer, **WAN, **shape, num_layers=layers, vace_layers=list(range(layers)), vace_in_channels=96)
    frames = 21 + references
    with counting() as alive:
        whole = [empty(1, 96, frames, *LATENT, dtype=torch.float32) for _ in range(hints)]
        controls, scales = [one.to(torch.bfloat16) for one in whole], [empty(layers) for _ in whole]
        transformer(empty(1, 16, frames, *LATENT), empty(1), empty(1, 512, 4096), control_hidden_states=tuple(controls) if hints > 1 else controls[0],
                    control_hidden_states_scale=tuple(scales) if hints > 1 else scales[0], return_dict=False)
    def needed(given):
        return plan.need(tmp_path, CARD, FRAMES, SIZE.width * SIZE.height, given).sampling
    assert told(needed(Given(hints=hints, pictures=references)), alive.most) == EXACT
    assert needed(Given(hints=2)) > needed(Given(hints=1)) == needed(Given()) > needed(Given()) * 21 / 22, "without a hint there is a grey one"


@pytest.mark.parametrize("clips", [0, 1, 2])
def test_a_step_of_ltx2_has_its_guides_beside_the_clip(tmp_path, clips):
    from diffusers import AutoencoderKLLTX2Video, LTX2VideoTransformer3DModel
    made(tmp_path, "vae", AutoencoderKLLTX2Video, spatial_compression_ratio=32, temporal_compression_ratio=8)
    transformer = made(tmp_path, "transformer", LTX2VideoTransformer3DModel, num_layers=2)
    frames, height, width, sound = 16, 22, 40, 126
    tokens = frames * height * width * (1 + clips)
    with counting() as alive:
        transformer(empty(2, tokens, 128), empty(2, sound, 128), empty(2, 1024, 3840), empty(2, 1024, 3840), empty(2, tokens, dtype=torch.float32),
                    empty(2, dtype=torch.float32), encoder_attention_mask=empty(2, 1024), audio_encoder_attention_mask=empty(2, 1024), num_frames=frames,
                    height=height, width=width, fps=24.0, audio_num_frames=sound, video_coords=empty(2, 3, tokens, 2, dtype=torch.float32),
                    audio_coords=empty(2, 1, sound, 2, dtype=torch.float32), return_dict=False)
    assert told(plan.need(tmp_path, CARD, 121, 1280 * 704, Given(clips=clips)).sampling, alive.most) == EXACT


def test_a_step_of_sana_wm(tmp_path, monkeypatch):
    from diffusers import AutoencoderKLLTX2Video, SanaWMTransformer3DModel
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())       # the `meta` device has none to switch off
    made(tmp_path, "vae", AutoencoderKLLTX2Video, spatial_compression_ratio=32, temporal_compression_ratio=8)
    transformer = made(tmp_path, "transformer", SanaWMTransformer3DModel, num_layers=4, chunk_plucker_post_attn_blocks=4)
    frames, height, width = 21, 22, 40
    with counting() as alive:
        transformer(empty(2, 128, frames, height, width), empty(2, 1, frames, dtype=torch.float32), empty(2, 1, 300, 2304), return_dict=False,
                    mask=empty(2, 300, dtype=torch.int64), camera_conditions=empty(2, frames, 20), chunk_plucker=empty(2, 48, frames, height, width))
    assert told(plan.need(tmp_path, CARD, 161, 1280 * 704).sampling, alive.most) == EXACT


@pytest.mark.parametrize("by", DRAFTS)
def test_what_a_draft_keeps_from_step_to_step(by):
    from diffusers import FirstBlockCacheConfig, MagCacheConfig, WanTransformer3DModel
    from engine.diffusers_line.drafts import _states
    part = WanTransformer3DModel(num_attention_heads=2, attention_head_dim=12, text_dim=32, ffn_dim=32, num_layers=3, rope_max_seq_len=64).eval()
    part.enable_cache(FirstBlockCacheConfig(threshold=0.1) if by == FIRST_BLOCK else MagCacheConfig(num_inference_steps=4, mag_ratios=[1.0] * 4))
    with torch.inference_mode():
        for text in ("positive", "negative"):
            with part.cache_context(text):
                part(torch.randn(1, 16, 3, 8, 8), torch.tensor([500]), torch.randn(1, 4, 32))
    states = _states(part)._state_cache
    kept = {storage.data_ptr(): storage.nbytes() for state in states.values() for storage in storages(list(vars(state).values()))}
    assert len(states) == 2 and sum(kept.values()) == 2 * footprint.CACHED[by] * (3 * 4 * 4) * 24 * 4


def test_a_draft_in_two_stages_keeps_nothing_in_the_second(a_shot, checkpoints):
    from tests.engine import tiny_families
    folder = checkpoints / "ltx2"
    if not (folder / "model_index.json").exists():
        tiny_families.save("ltx2", folder)
    needed = lambda **more: estimate.need(a_shot(family="ltx2", model=str(folder), guidance=1.0, **more), folder, CARD).sampling     # distilled itself
    one, two = ([needed(draft=draft, two_stages=stages) for draft in (False, True)] for stages in (False, True))
    assert one[0] < one[1] and two[0] == two[1]


def test_a_draft_needs_what_it_keeps(a_shot, checkpoints):
    from tests.engine import tiny_families
    folder = tiny_families.save("wan_text", checkpoints / "wan_text") if not (checkpoints / "wan_text").exists() else checkpoints / "wan_text"
    whole, drafted, alone = (estimate.need(a_shot(family="wan", model=str(folder), draft=draft, guidance=guidance), folder, CARD).sampling
                             for draft, guidance in ((False, 5.0), (True, 5.0), (True, 1.0)))
    tokens = (1 + 1) * 4 * 6            # of 5 frames, 96x64
    assert drafted - whole == 2 * (alone - whole) == 2 * footprint.CACHED["first_block"] * tokens * 24 * 2


def test_two_stages_of_ltx2_are_counted_as_the_second(tmp_path):
    """Half the texts of one stage at that size; the first stage, with its guide and both texts, needs no more; nor does the up-sampler."""
    from diffusers import AutoencoderKLLTX2Video, LTX2VideoTransformer3DModel
    from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
    made(tmp_path, "vae", AutoencoderKLLTX2Video, spatial_compression_ratio=32, temporal_compression_ratio=8)
    made(tmp_path, "transformer", LTX2VideoTransformer3DModel, num_layers=2)
    upsampler = made(tmp_path, "latent_upsampler", LTX2LatentUpsamplerModel)
    one, two = (plan.need(tmp_path, CARD, 121, 2560 * 1408, given).sampling for given in (Given(), Given(two_stages=True)))
    first = plan.need(tmp_path, CARD, 121, 1280 * 704, Given(clips=1)).sampling
    with counting() as alive:
        upsampler(empty(1, 128, 16, 22, 40))
    assert one == pytest.approx(2 * two) and first <= two and alive.most < two / 20


def test_a_step_of_cogvideox(tmp_path):
    from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
    made(tmp_path, "vae", AutoencoderKLCogVideoX, **COG_VAE)
    transformer = made(tmp_path, "transformer", CogVideoXTransformer3DModel, num_layers=2, num_attention_heads=48, attention_head_dim=64, in_channels=32,
                       out_channels=16, use_rotary_positional_embeddings=True)
    turns = empty(13 * 30 * 45, 64, dtype=torch.float32)
    with counting() as alive:
        transformer(empty(2, 13, 32, 60, 90), empty(2, 226, 4096), empty(2), image_rotary_emb=(turns, turns), return_dict=False)
    assert told(plan.need(tmp_path, CARD, 49, 720 * 480).sampling, alive.most) == EXACT


# ---------------------------------------------------------------- autoencoders
GROWN = dict(base_dim=160, z_dim=48, in_channels=12, out_channels=12, is_residual=True, patch_size=2, decoder_base_dim=256, latents_mean=[0.0] * 48,
             latents_std=[1.0] * 48, scale_factor_spatial=16)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("settings", "size"), [({}, SIZE), ({}, Size(416, 240)), (GROWN, Size(1280, 704)), (GROWN, Size(640, 352))])
def test_decoding_wan_takes_more_than_encoding(tmp_path, settings, size, precision):
    wrapped, side, frames = wan_decoder(tmp_path, precision, settings), 16 if settings else 8, 17
    with counting() as encoding:
        wrapped._encode(empty(1, 3, frames, size.height, size.width, dtype=torch.float32))
    alive = decoding_of(wrapped, 5, size.height // side, size.width // side)
    planned = plan.need(tmp_path, dataclasses.replace(CARD, decoding=precision), frames, size.width * size.height).decoding
    assert told(planned, alive.most) == EXACT and encoding.most + 3 * 81 * size.width * size.height * (4 if precision == "float32" else 2) < alive.most


def test_a_tile_of_a_large_picture_takes_at_most_half_of_the_device(tmp_path):
    wrapped, large = wan_decoder(tmp_path, "bfloat16", {}), Size(1280, 720)
    for memory in (8, 12, 16):
        place = dataclasses.replace(CARD, decoding="bfloat16", memory=memory * 2**30)
        planned = plan.need(tmp_path, place, FRAMES, large.width * large.height).decoding
        most = footprint.tile(wrapped.vae.config, 16, place.memory) / 64
        cut = wan_tiles.tiles(90, 160, most, wan_tiles.halo(wrapped.vae.config, False))
        each = [[last - first for first, last in tile.given] for tile in cut]
        counted = max(decoding_of(wrapped, 3, *sides).most for sides in map(list, {tuple(one) for one in each}))
        assert len(cut) > 1 and max(down * across for down, across in each) <= most
        assert counted * footprint.ROOM <= place.memory / 2 < planned < place.memory * 0.55, "beside a tile, what all are cut from"
    whole = plan.need(tmp_path, dataclasses.replace(CARD, decoding="bfloat16"), FRAMES, large.width * large.height).decoding
    assert planned < whole < plan.need(tmp_path, CARD, FRAMES, large.width * large.height).decoding * 0.6
    exact = plan.need(tmp_path, dataclasses.replace(CARD, decoding="bfloat16"), FRAMES, large.width * large.height, Given(precise=True)).decoding
    assert exact == plan.need(tmp_path, CARD, FRAMES, large.width * large.height).decoding


def wan_decoder(folder, precision: str, settings: dict):
    """Wan's autoencoder without weights, on the `meta` device, which has enough memory for anything."""
    from diffusers import AutoencoderKLWan
    from engine.diffusers_line.wan_autoencoder import Autoencoder
    vae = made(folder, "vae", AutoencoderKLWan, getattr(torch, precision), **settings)
    wrapped = Autoencoder(vae, torch.device("meta"), lambda _name: contextlib.nullcontext())
    wrapped._mean, wrapped._std = wrapped._mean.to("meta"), wrapped._std.to("meta")
    return wrapped


def decoding_of(wrapped, frames: int, height: int, width: int) -> Alive:
    """What decoding so many latent frames, in latent pixels, has alive."""
    with counting() as alive:
        for _ in wrapped.decode(empty(1, wrapped.channels, frames, height, width, dtype=torch.float32)):
            pass
    return alive


@pytest.mark.parametrize("size", [Size(640, 352), Size(1280, 704), Size(2560, 1408)])
def test_decoding_ltx2_takes_no_more_for_a_longer_clip(tmp_path, size):
    from diffusers import AutoencoderKLLTX2Video
    vae, pixels = made(tmp_path, "vae", AutoencoderKLLTX2Video, decoder_causal=False, spatial_compression_ratio=32, temporal_compression_ratio=8), size.width * size.height
    for frames, latents in ((9, 2), (121, 16), (241, 31)):
        with counting() as alive:
            count = sum(chunk.shape[2] for chunk in ltx2_stream.decoded(vae, empty(1, 128, latents, size.height // 32, size.width // 32)))
        planned = footprint.decoding(dict(vae.config, _class_name="AutoencoderKLLTX2Video"), frames, pixels, 16)
        assert count == frames and 0.98 < told(planned, alive.most) < 1.2, "never too little; how chunks meet differs"


def test_decoding_cogvideox(tmp_path):
    from diffusers import AutoencoderKLCogVideoX
    vae = made(tmp_path / "other", "vae", AutoencoderKLCogVideoX, **COG_VAE)
    with counting() as alive:
        vae.decode(empty(1, 16, 5, 30, 45))
    assert told(footprint.decoding(dict(vae.config, _class_name="AutoencoderKLCogVideoX"), 17, 360 * 240, 16), alive.most) == EXACT


# ---------------------------------------------------------------- what shots give
def test_shots_give_what_their_families_say(a_shot):
    guides = tuple(Guide(kind=kind, path="") for kind in ("depth", "mask", "edges"))
    off = (Guide(kind="depth", path="", strength=0.0), Guide(kind="normal", path="", strength=0.0, spans=(Span(first=0, last=3, strength=0.5),)))
    vace, ltx2 = families.family("vace").given, families.family("ltx2").given
    assert vace(a_shot(guides=guides, references=("a", "b"))) == Given(hints=2, pictures=2, encoded=4 * 8 + 8)
    assert vace(a_shot(guides=off)) == Given(hints=1, encoded=2 * 8) == dataclasses.replace(vace(a_shot()), hints=1)
    stills = tuple(Keyframe(frame=frame, path="") for frame in (0, 8, 16))
    assert ltx2(a_shot(guides=guides[:1], keyframes=stills)) == Given(clips=1, pictures=2, encoded=12 + 3 * 8)
    assert ltx2(a_shot(guides=guides[::2])) == Given(clips=2, encoded=2 * 12) and ltx2(a_shot(guides=(guides[2], off[0]))) == Given(clips=1, encoded=12)
    twice = {guided: [ltx2(a_shot(guides=guides[:count], two_stages=True, guidance=guided)).clips for count in range(4)] for guided in (1.0, 3.0)}
    assert twice == {1.0: [0, 0, 0, 0], 3.0: [0, 0, 1, 1]}, "a quarter of the pixels, with their guides and with both texts"


def test_long_takes_of_skyreels_need_no_more_than_a_stretch(tmp_path, a_shot):
    from diffusers import SkyReelsV2Transformer3DModel
    wan_vae(tmp_path)
    made(tmp_path, "transformer", SkyReelsV2Transformer3DModel, **SMALL, attention_head_dim=128, num_layers=1)
    short, long = (estimate.need(a_shot(family="skyreels", frames=frames, size=Size(960, 544)), tmp_path, CARD) for frames in (97, 1457))
    assert short == long
