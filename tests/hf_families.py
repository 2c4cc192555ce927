"""Small networks of transformers, one of each family: configurations, and where the feature is."""

VISION = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
          "intermediate_size": 48, "image_size": 32, "patch_size": 8}  # fmt: skip
TEXT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 48, "vocab_size": 64, "max_position_embeddings": 16,
        "eos_token_id": 1, "bos_token_id": 0, "pad_token_id": 0, "projection_dim": 24}  # fmt: skip
DUAL = {"vision_config": {**VISION, "projection_dim": 24}, "text_config": TEXT,
        "projection_dim": 24}  # fmt: skip
SWIN = {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2],
        "window_size": 4}  # fmt: skip
STAGES = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
BASIC = {**STAGES, "embedding_size": 8, "layer_type": "basic"}
PYRAMID = {**STAGES, "num_attention_heads": [1, 2, 2, 2], "decoder_hidden_size": 8}
REGISTERS = {**VISION, "num_register_tokens": 4}
PATCHED = {**VISION, "image_size": [32, 32]}
LCNET = {"scale": 0.25}
LCNET3 = {**LCNET, "conv_symmetric_num": 1, "block_configs": [
    [[3, 16, 32, 2, False]], *([[3, 32, 32, 1, False]] for _ in range(3)),
    [[5, 32, 64, 2, True], [5, 64, 64, 1, False]]]}  # fmt: skip
LCNET4 = {**LCNET, "stem_channels": [3, 8, 8], "block_configs": [
    [[3, 8, 8, 1, True]], *([[3, 8, 8, 1, False]] for _ in range(2)), [[3, 8, 16, [2, 1], True]],
]}  # fmt: skip
HIERA = {
    "embed_dim": 16, "num_heads": [1, 2], "depths": [1, 1], "image_size": [32, 32],
    "masked_unit_size": [4, 4], "num_query_pool": 1, "masked_unit_attention": [True, False],
}  # fmt: skip
LEVIT = {
    "hidden_sizes": [16, 24, 32], "num_attention_heads": [2, 2, 2], "depths": [1, 1, 1],
    "key_dim": [8, 8, 8], "image_size": 64,
}  # fmt: skip
MOBILEVIT = {"image_size": 64, "hidden_sizes": [16, 16, 16],
             "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 16], "num_attention_heads": 2}  # fmt: skip
TEXTNET = {
    "image_size": [64, 64], "hidden_sizes": [8, 8, 16, 16, 16], "stem_out_channels": 8,
    "depths": [1, 1, 1, 1], "conv_layer_kernel_sizes": [[[3, 3]], [[3, 3]], [[1, 3]], [[3, 1]]],
    "conv_layer_strides": [[1], [2], [2], [2]],
}  # fmt: skip
HGNET = {
    "stem_channels": [3, 8, 8], "embedding_size": 8, "hidden_sizes": [8, 16, 16, 32],
    "stage_in_channels": [8, 8, 16, 16], "stage_mid_channels": [8, 8, 8, 8],
    "stage_out_channels": [8, 16, 16, 32], "stage_num_blocks": [1, 1, 1, 1],
    "stage_numb_of_layers": [1, 1, 1, 1],
}  # fmt: skip
SAM2 = {
    "backbone_config": {
        "model_type": "sam2_hiera_det_model", "hidden_size": 8, "image_size": [64, 64],
        "blocks_per_stage": [1, 1, 1, 1], "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [4, 4, 4, 4], "global_attention_blocks": [],
        "window_positional_embedding_background_size": [2, 2],
    },
    "backbone_channel_list": [64, 32, 16, 8], "fpn_hidden_size": 16,
}  # fmt: skip
SAM3 = {
    "backbone_config": {**VISION, "model_type": "sam3_vit_model", "window_size": 2,
                        "global_attn_indexes": [1], "pretrain_image_size": 32},
    "fpn_hidden_size": 16,
}  # fmt: skip

# model_type -> (configuration, what the documentation of the library says the feature is).
# pooler: pooler_output; token: the class token of last_hidden_state; mean: that of its tokens or
# of its map; embedding: get_image_features; map: the mean of the last feature map.
FAMILIES = {
    "aimv2": (DUAL, "embedding"),
    "aimv2_vision_model": (VISION, "pooler"),
    "align": ({**DUAL, "vision_config": {"image_size": 64, "width_coefficient": 0.1,
               "depth_coefficient": 0.1, "hidden_dim": 128}}, "embedding"),
    "altclip": (DUAL, "embedding"),
    "beit": (VISION, "pooler"),
    "bit": ({**STAGES, "embedding_size": 8, "num_groups": 4}, "pooler"),
    "blip": (DUAL, "embedding"),
    "chinese_clip": (DUAL, "embedding"),
    "chinese_clip_vision_model": (VISION, "pooler"),
    "clip": (DUAL, "embedding"),
    "clip_vision_model": (VISION, "pooler"),
    "clipseg": (DUAL, "embedding"),
    "convnext": (STAGES, "pooler"),
    "convnextv2": (STAGES, "pooler"),
    "cvt": ({"embed_dim": [16, 32, 48], "num_heads": [1, 2, 3], "depth": [1, 2, 3]},
            "cls_token_value"),
    "data2vec-vision": (VISION, "token"),
    "deit": (VISION, "pooler"),
    "dinov2": (VISION, "pooler"),
    "dinov2_with_registers": (REGISTERS, "pooler"),
    "dinov3_convnext": (STAGES, "pooler"),
    "dinov3_vit": (REGISTERS, "pooler"),
    "donut-swin": (SWIN, "pooler"),
    "dpt": ({**VISION, "backbone_out_indices": [0, 1], "neck_hidden_sizes": [8, 8]}, "pooler"),
    "efficientnet": ({"image_size": 64, "width_coefficient": 0.1, "depth_coefficient": 0.1,
                      "hidden_dim": 128}, "pooler"),
    "focalnet": ({"image_size": 64, "embed_dim": 8, "depths": [1, 1, 1, 1],
                  "hidden_sizes": [8, 16, 32, 64]}, "pooler"),
    "glpn": (PYRAMID, "mean"),
    "groupvit": ({**DUAL, "vision_config": {**VISION, "depths": [1, 1, 1],
                  "num_group_tokens": [4, 2, 0], "num_output_groups": [4, 2, 0]}}, "embedding"),
    "hgnet_v2": (HGNET, "map"),
    "hiera": (HIERA, "pooler"),
    "ijepa": (VISION, "mean"),
    "levit": (LEVIT, "pooler"),
    "maskformer-swin": (SWIN, "pooler"),
    "metaclip_2": (DUAL, "embedding"),
    "mlcd": ({**VISION, "num_key_value_groups": 1}, "pooler"),
    "mlcd_vision_model": ({**VISION, "num_key_value_groups": 1}, "pooler"),
    "mobilenet_v1": ({"image_size": 32, "depth_multiplier": 0.25}, "pooler"),
    "mobilenet_v2": ({"image_size": 32, "depth_multiplier": 0.25}, "pooler"),
    "mobilevit": (MOBILEVIT, "pooler"),
    "mobilevitv2": ({"image_size": 64, "width_multiplier": 0.25}, "pooler"),
    "owlv2": (DUAL, "embedding"),
    "owlvit": (DUAL, "embedding"),
    "pixio": ({**VISION, "n_cls_tokens": 8}, "pooler"),
    "poolformer": (STAGES, "mean"),
    "pp_lcnet": (LCNET, "map"),
    "pp_lcnet_v3": (LCNET3, "map"),
    "pp_lcnet_v4": (LCNET4, "map"),
    "pvt": ({**PYRAMID, "image_size": 64}, "token"),
    "pvt_v2": ({**PYRAMID, "image_size": 64}, "mean"),
    "regnet": ({**STAGES, "embedding_size": 8, "groups_width": 8}, "pooler"),
    "resnet": (BASIC, "pooler"),
    "rf_detr_dinov2": ({**VISION, "num_windows": 1}, "map"),
    "rt_detr_resnet": (BASIC, "map"),
    "sam2_vision_model": (SAM2, "channels last"),
    "sam3_vision_model": (SAM3, "mean"),
    "sam_hq_vision_model": ({**VISION, "output_channels": 16, "global_attn_indexes": [1],
                             "window_size": 2, "mlp_dim": 48}, "mean"),
    "sam_vision_model": ({**VISION, "output_channels": 16, "global_attn_indexes": [1],
                          "window_size": 2, "mlp_dim": 48}, "mean"),
    "sapiens2": ({**PATCHED, "num_register_tokens": 4, "num_key_value_heads": 2}, "pooler"),
    "segformer": (PYRAMID, "mean"),
    "siglip": (DUAL, "embedding"),
    "siglip_vision_model": (VISION, "pooler"),
    "swiftformer": ({"embed_dims": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "image_size": 64},
                    "mean"),
    "swin": (SWIN, "pooler"),
    "swin2sr": ({**SWIN, "patch_size": 1, "window_size": 8}, "mean"),
    "swinv2": (SWIN, "pooler"),
    "textnet": (TEXTNET, "pooler"),
    "tipsv2": (DUAL, "embedding"),
    "tipsv2_vision_model": (VISION, "pooler"),
    "vit": (VISION, "pooler"),
    "vit_mae": ({**VISION, "mask_ratio": 0.0}, "token"),
    "vit_msn": (VISION, "token"),
    "vitdet": ({**VISION, "window_block_indices": [], "pretrain_image_size": 32}, "mean"),
    "yolos": ({**PATCHED, "num_detection_tokens": 6}, "pooler"),
}  # fmt: skip

# Image classifiers by class -> (model_type, configuration).
CLASSIFIERS = {
    "BeitForImageClassification": "beit",
    "BitForImageClassification": "bit",
    "CLIPForImageClassification": "clip",
    "ConvNextForImageClassification": "convnext",
    "ConvNextV2ForImageClassification": "convnextv2",
    "CvtForImageClassification": "cvt",
    "Data2VecVisionForImageClassification": "data2vec-vision",
    "DeiTForImageClassification": "deit",
    "DeiTForImageClassificationWithTeacher": "deit",
    "Dinov2ForImageClassification": "dinov2",
    "Dinov2WithRegistersForImageClassification": "dinov2_with_registers",
    "DonutSwinForImageClassification": "donut-swin",
    "EfficientNetForImageClassification": "efficientnet",
    "FocalNetForImageClassification": "focalnet",
    "HGNetV2ForImageClassification": "hgnet_v2",
    "HieraForImageClassification": "hiera",
    "IJepaForImageClassification": "ijepa",
    "LevitForImageClassification": "levit",
    "LevitForImageClassificationWithTeacher": "levit",
    "MetaClip2ForImageClassification": "metaclip_2",
    "MobileNetV1ForImageClassification": "mobilenet_v1",
    "MobileNetV2ForImageClassification": "mobilenet_v2",
    "MobileViTForImageClassification": "mobilevit",
    "MobileViTV2ForImageClassification": "mobilevitv2",
    "PPLCNetForImageClassification": "pp_lcnet",
    "PoolFormerForImageClassification": "poolformer",
    "PvtForImageClassification": "pvt",
    "PvtV2ForImageClassification": "pvt_v2",
    "RegNetForImageClassification": "regnet",
    "ResNetForImageClassification": "resnet",
    "SegformerForImageClassification": "segformer",
    "SiglipForImageClassification": "siglip",
    "SwiftFormerForImageClassification": "swiftformer",
    "SwinForImageClassification": "swin",
    "Swinv2ForImageClassification": "swinv2",
    "TextNetForImageClassification": "textnet",
    "ViTForImageClassification": "vit",
    "ViTMSNForImageClassification": "vit_msn",
}
# Of the library's image networks, what is refused, and by which code.
NO_PACKAGE = {"dinat": "model.config_invalid"}
REFUSED = {
    **dict.fromkeys(
        ("conditional_detr", "dab-detr", "deformable_detr", "depth_pro", "detr", "lw_detr_vit",
         "shieldgemma2", "table-transformer", "timesformer", "timm_backbone", "uvdoc_backbone",
         "videomae", "vitpose_backbone", "vivit"),
        "model.backbone_unsupported",
    ),
    **dict.fromkeys(
        ("cohere2_vision", "imagegpt", "llama4", "mllama", "videoprism_vision_model", "perceiver",
         "siglip2"),
        "model.input_unsupported",
    ),
}  # fmt: skip
# Read as a repository of timm.
OF_TIMM = ("timm_wrapper",)
