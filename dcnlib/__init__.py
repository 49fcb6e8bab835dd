"""Dynamic Capacity Networks (Almahairi et al., ICML 2016, arXiv 1511.07838): learn, run and extend them."""

from dcnlib.attention import (
    POLICIES,
    attention_pass,
    class_score_gradient,
    entropy,
    label_loss_gradient,
    oracle_scores,
    saliency_map,
    select_patches,
)
from dcnlib.checkpoints import load_weights, save_weights
from dcnlib.cluttered import ClutteredMNIST, ClutterRules, load_cluttered
from dcnlib.cost import Multiplications, count_multiplications
from dcnlib.dcn import Attention, DynamicCapacityNetwork, SingleCapacityNetwork
from dcnlib.digits import Digits, load_digits
from dcnlib.draw import DrawClassifier, DrawLook
from dcnlib.evaluation import Evaluation, evaluate
from dcnlib.experiments import EXPERIMENTS, number_validation_set, run_experiment, validation_set
from dcnlib.house_numbers import HouseNumbers, load_house_numbers, number_text
from dcnlib.inference import compile_for_inference
from dcnlib.layers import CoarseLayers, FineLayers, TopLayers
from dcnlib.number_images import (
    TEST_DISTURBANCE,
    TRAINING_DISTURBANCE,
    Disturbance,
    HouseNumberImages,
    load_house_number_images,
)
from dcnlib.number_layers import CoarseNumberLayers, FineNumberLayers, NumberTopLayers, number_pyramid
from dcnlib.patches import Geometry, covered_size, derive_geometry, extract_patches, receptive_field
from dcnlib.perturbed_topk import PerturbedTopKNetwork
from dcnlib.pretrained import PRETRAINED, ModelSpec, load_pretrained
from dcnlib.ram import RamLook, RecurrentAttentionModel
from dcnlib.results import ErrorRate, load_record, project_root
from dcnlib.scales import MultiScaleNetwork, Pyramid
from dcnlib.soft_attention import SoftAttentionNetwork, SoftLook
from dcnlib.training import TrainingSettings, fit, resolve_device, seed_everything

__all__ = [
    "EXPERIMENTS",
    "POLICIES",
    "PRETRAINED",
    "TEST_DISTURBANCE",
    "TRAINING_DISTURBANCE",
    "Attention",
    "ClutterRules",
    "ClutteredMNIST",
    "CoarseLayers",
    "CoarseNumberLayers",
    "Digits",
    "Disturbance",
    "DrawClassifier",
    "DrawLook",
    "DynamicCapacityNetwork",
    "ErrorRate",
    "Evaluation",
    "FineLayers",
    "FineNumberLayers",
    "Geometry",
    "HouseNumberImages",
    "HouseNumbers",
    "ModelSpec",
    "MultiScaleNetwork",
    "Multiplications",
    "NumberTopLayers",
    "PerturbedTopKNetwork",
    "Pyramid",
    "RamLook",
    "RecurrentAttentionModel",
    "SingleCapacityNetwork",
    "SoftAttentionNetwork",
    "SoftLook",
    "TopLayers",
    "TrainingSettings",
    "attention_pass",
    "class_score_gradient",
    "compile_for_inference",
    "count_multiplications",
    "covered_size",
    "derive_geometry",
    "entropy",
    "evaluate",
    "extract_patches",
    "fit",
    "label_loss_gradient",
    "load_cluttered",
    "load_digits",
    "load_house_number_images",
    "load_house_numbers",
    "load_pretrained",
    "load_record",
    "load_weights",
    "number_pyramid",
    "number_text",
    "number_validation_set",
    "oracle_scores",
    "project_root",
    "receptive_field",
    "resolve_device",
    "run_experiment",
    "saliency_map",
    "save_weights",
    "seed_everything",
    "select_patches",
    "validation_set",
]
