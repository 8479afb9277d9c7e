"""Checkpoints of the open families with tiny random weights, saved by `save_pretrained` as published ones are. Offline."""
from __future__ import annotations

import inspect
from pathlib import Path

import torch

from tests.engine.roused import roused

WAN = dict(patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, text_dim=32, freq_dim=256, ffn_dim=32, num_layers=2,
           cross_attn_norm=True, qk_norm="rms_norm_across_heads", rope_max_seq_len=64)


def tokenizer(length: int = 512, side: str = "right"):
    """Every byte is a token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast
    words = {word: place for place, word in enumerate(["<pad>", "</s>", "<unk>", "<bos>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    made = Tokenizer(models.BPE(vocab=words, merges=[], unk_token="<unk>"))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", bos_token="<bos>",
                                   model_max_length=length, padding_side=side)


def _t5(kind: str):
    import transformers
    config = getattr(transformers, f"{kind}Config")(vocab_size=300, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
    return getattr(transformers, f"{kind}EncoderModel")(config).eval()


def _unipc():
    from diffusers import UniPCMultistepScheduler
    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0)


def _wan_vae(grown: bool = False):
    """Strides as published: 8x8x4, or TI2V-5B's 16x16x4."""
    from diffusers import AutoencoderKLWan
    more = dict(z_dim=48, in_channels=12, out_channels=12, is_residual=True, patch_size=2, latents_mean=[0.0] * 48, latents_std=[1.0] * 48,
                scale_factor_spatial=16) if grown else dict(z_dim=16)
    return AutoencoderKLWan(base_dim=3, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True], **more).eval()


def _wan(channels_in: int = 16, channels_out: int = 16, **more):
    from diffusers import WanTransformer3DModel
    return WanTransformer3DModel(in_channels=channels_in, out_channels=channels_out, **{**WAN, **more}).eval()


def _text() -> dict:
    return {"tokenizer": tokenizer(), "text_encoder": _t5("UMT5"), "scheduler": _unipc()}


def wan_text():
    from diffusers import WanPipeline
    return WanPipeline(**_text(), vae=_wan_vae(), transformer=_wan(), transformer_2=None)


def wan_even():
    """As `wan_text`, in widths that GGUF's blocks of 32 weights divide."""
    from diffusers import WanPipeline
    return WanPipeline(**_text(), vae=_wan_vae(), transformer=_wan(attention_head_dim=16, ffn_dim=64), transformer_2=None)


def wan_experts():
    from diffusers import WanPipeline
    return WanPipeline(**_text(), vae=_wan_vae(), transformer=_wan(), transformer_2=_wan(), boundary_ratio=0.875)


def wan_pictures():
    """Wan 2.1's, with an image encoder; first and last frame."""
    from diffusers import WanImageToVideoPipeline
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel
    vision = CLIPVisionConfig(hidden_size=16, projection_dim=4, num_hidden_layers=2, num_attention_heads=2, image_size=32, intermediate_size=16, patch_size=16)
    return WanImageToVideoPipeline(**_text(), vae=_wan_vae(), transformer=_wan(36, image_dim=16, added_kv_proj_dim=24, pos_embed_seq_len=2 * 5),
                                   transformer_2=None, image_encoder=CLIPVisionModel(vision).eval(),
                                   image_processor=CLIPImageProcessor(crop_size=32, size=32))


def wan_picture_experts():
    from diffusers import WanImageToVideoPipeline
    return WanImageToVideoPipeline(**_text(), vae=_wan_vae(), transformer=_wan(36), transformer_2=_wan(36), image_encoder=None, image_processor=None,
                                   boundary_ratio=0.9)


def wan_grown():
    from diffusers import WanImageToVideoPipeline
    return WanImageToVideoPipeline(**_text(), vae=_wan_vae(grown=True), transformer=_wan(48, 48), transformer_2=None, image_encoder=None,
                                   image_processor=None, expand_timesteps=True)


def vace():
    from diffusers import WanVACEPipeline, WanVACETransformer3DModel
    transformer = WanVACETransformer3DModel(in_channels=16, out_channels=16, vace_layers=[0, 2], vace_in_channels=96, **{**WAN, "num_layers": 3}).eval()
    return WanVACEPipeline(**_text(), vae=_wan_vae(), transformer=transformer, transformer_2=None)


def vace_experts():
    from diffusers import WanVACEPipeline, WanVACETransformer3DModel
    experts = [WanVACETransformer3DModel(in_channels=16, out_channels=16, vace_layers=[0], vace_in_channels=96, **WAN).eval() for _ in range(2)]
    return WanVACEPipeline(**_text(), vae=_wan_vae(), transformer=experts[0], transformer_2=experts[1], boundary_ratio=0.875)


def skyreels():
    from diffusers import SkyReelsV2DiffusionForcingPipeline, SkyReelsV2Transformer3DModel
    transformer = SkyReelsV2Transformer3DModel(in_channels=16, out_channels=16, inject_sample_info=False, **WAN).eval()
    return SkyReelsV2DiffusionForcingPipeline(**_text(), vae=_wan_vae(), transformer=transformer)


def cogvideox():
    from diffusers import AutoencoderKLCogVideoX, CogVideoXFunControlPipeline, CogVideoXTransformer3DModel, DDIMScheduler
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=4, attention_head_dim=8, in_channels=8, out_channels=4, time_embed_dim=2, text_embed_dim=32, num_layers=2, sample_width=2,
        sample_height=2, sample_frames=9, patch_size=2, temporal_compression_ratio=4, max_text_seq_length=32).eval()
    vae = AutoencoderKLCogVideoX(
        in_channels=3, out_channels=3, down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(4, 4, 4, 4), latent_channels=4, layers_per_block=1, norm_num_groups=2, temporal_compression_ratio=4).eval()
    return CogVideoXFunControlPipeline(tokenizer=tokenizer(), text_encoder=_t5("T5"), vae=vae, transformer=transformer, scheduler=DDIMScheduler())


def _ltx2_vae():
    """Strides of 16x16x2: what attends to all there is takes most of a tiny model's time, and there is 256 times less of it than at 2x2x2."""
    from diffusers import AutoencoderKLLTX2Video
    made = AutoencoderKLLTX2Video(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(8,), decoder_block_out_channels=(8,), layers_per_block=(1,),
        decoder_layers_per_block=(1, 1), spatio_temporal_scaling=(True,), decoder_spatio_temporal_scaling=(True,), decoder_inject_noise=(False, False),
        downsample_type=("spatiotemporal",), upsample_residual=(False,), upsample_factor=(1,), timestep_conditioning=False, patch_size=8, patch_size_t=1,
        encoder_causal=True, decoder_causal=False).eval()
    made.use_framewise_encoding = made.use_framewise_decoding = False
    return made


def ltx2():
    from diffusers import (AutoencoderKLLTX2Audio, FlowMatchEulerDiscreteScheduler, LTX2InContextPipeline, LTX2VideoTransformer3DModel)
    from diffusers.pipelines.ltx2 import LTX2TextConnectors
    from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3TextConfig, SiglipVisionConfig
    words = Gemma3TextConfig(vocab_size=300, hidden_size=32, intermediate_size=37, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
                             head_dim=16, sliding_window=64)
    sight = SiglipVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
    parts = dict(
        text_encoder=Gemma3ForConditionalGeneration(Gemma3Config(text_config=words, vision_config=sight, mm_tokens_per_image=4)).eval(),
        transformer=LTX2VideoTransformer3DModel(
            in_channels=4, out_channels=4, patch_size=1, patch_size_t=1, num_attention_heads=2, attention_head_dim=8, cross_attention_dim=16,
            audio_in_channels=4, audio_out_channels=4, audio_num_attention_heads=2, audio_attention_head_dim=4, audio_cross_attention_dim=8, num_layers=2,
            qk_norm="rms_norm_across_heads", caption_channels=32, rope_double_precision=False, rope_type="split").eval(),
        connectors=LTX2TextConnectors(
            caption_channels=32, text_proj_in_factor=3, video_connector_num_attention_heads=4, video_connector_attention_head_dim=8,
            video_connector_num_layers=1, video_connector_num_learnable_registers=None, audio_connector_num_attention_heads=4,
            audio_connector_attention_head_dim=8, audio_connector_num_layers=1, audio_connector_num_learnable_registers=None,
            connector_rope_base_seq_len=32, rope_theta=10000.0, rope_double_precision=False, causal_temporal_positioning=False, rope_type="split").eval(),
        vae=_ltx2_vae(),
        audio_vae=AutoencoderKLLTX2Audio(
            base_channels=4, output_channels=2, ch_mult=(1,), num_res_blocks=1, attn_resolutions=None, in_channels=2, resolution=32, latent_channels=2,
            norm_type="pixel", causality_axis="height", dropout=0.0, mid_block_add_attention=False, sample_rate=16000, mel_hop_length=160,
            is_causal=True, mel_bins=8).eval(),
        vocoder=LTX2Vocoder(in_channels=16, hidden_channels=32, out_channels=2, upsample_kernel_sizes=[20, 32], upsample_factors=[10, 16],
                            resnet_kernel_sizes=[3], resnet_dilations=[[1, 3, 5]], leaky_relu_negative_slope=0.1, output_sampling_rate=16000).eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(), tokenizer=tokenizer(32, "left"))
    absent = {name: None for name in ("processor", "prompt_enhancer", "duration_head") if name in inspect.signature(LTX2InContextPipeline).parameters}
    return LTX2InContextPipeline(**parts, **absent)


def upsampler():
    """LTX-2's, which makes a latent twice as large; in published folders it lies beside what the pipeline's index names."""
    from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
    return LTX2LatentUpsamplerModel(in_channels=4, mid_channels=32, num_blocks_per_stage=1).eval()


def sana_wm():
    from diffusers import FlowMatchEulerDiscreteScheduler, SanaWMPipeline, SanaWMTransformer3DModel
    from transformers import Gemma2Config, Gemma2ForCausalLM
    words = Gemma2Config(vocab_size=300, hidden_size=32, intermediate_size=37, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
                         head_dim=16, sliding_window=64, max_position_embeddings=4096)
    vae = _ltx2_vae()
    transformer = SanaWMTransformer3DModel(
        in_channels=4, num_layers=2, hidden_size=32, num_attention_heads=2, softmax_every_n=2, linear_head_dim=16, t_kernel_size=3, conv_kernel_size=4,
        caption_channels=32, mlp_ratio=2.0, chunk_plucker_channels=6 * vae.temporal_compression_ratio, chunk_plucker_post_attn_blocks=2, image_size=32).eval()
    return SanaWMPipeline(tokenizer=tokenizer(), text_encoder=Gemma2ForCausalLM(words).eval(), vae=vae, transformer=transformer,
                          scheduler=FlowMatchEulerDiscreteScheduler())


MAKERS = {"wan_text": wan_text, "wan_even": wan_even, "wan_experts": wan_experts, "wan_pictures": wan_pictures, "wan_picture_experts": wan_picture_experts, "wan_grown": wan_grown,
          "vace": vace, "vace_experts": vace_experts, "skyreels": skyreels, "cogvideox": cogvideox, "ltx2": ltx2, "sana_wm": sana_wm}


def save(name: str, folder: Path) -> Path:
    """Makes and saves one; no weight is zero, so that every input counts."""
    torch.manual_seed(0)
    made = MAKERS[name]()
    for component in made.components.values():
        if isinstance(component, torch.nn.Module):
            roused(component)
    made.save_pretrained(folder)
    if name == "ltx2":
        upsampler().save_pretrained(folder / "latent_upsampler")
    return folder
