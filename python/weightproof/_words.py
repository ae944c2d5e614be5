"""The words that settings take, as types: a type checker finds a misspelt one."""

from __future__ import annotations

from typing import Literal, TypeAlias

#: How bounds are computed. ``linear-interval`` is ``linear`` with ``intermediate="interval"``.
BoundMethod: TypeAlias = Literal["norm-product", "interval", "linear", "linear-interval", "optimized"]
#: A bound method, or complete verification.
Method: TypeAlias = BoundMethod | Literal["exact"]
#: Where bounds of hidden neurons come from.
Intermediate: TypeAlias = Literal["linear", "interval"]
#: What bounds rest on.
Guarantee: TypeAlias = Literal["rigorous", "real-arithmetic"]
#: What must hold.
Property: TypeAlias = Literal["label", "prediction", "deviation", "positive", "within"]
#: Floating-point type of the engine.
Precision: TypeAlias = Literal["f32", "f64"]
#: Order of channels, height and width.
Layout: TypeAlias = Literal["nchw", "nhwc"]
#: What becomes of batch normalization.
BatchNorm: TypeAlias = Literal["fold", "separate"]
#: Which step comes out of the quantizers of a quantized network.
StepRounding: TypeAlias = Literal["nearest-even", "any"]
#: Which part of a folder or archive that has both.
Split: TypeAlias = Literal["test", "train"]
#: Whether the first row of a .csv names the columns.
Header: TypeAlias = Literal["auto", "yes", "no"]
#: The second solver of ``exact``.
Oracle: TypeAlias = Literal["milp"]
#: Searches for one sample at a time.
SampleAttack: TypeAlias = Literal["neuron-space", "weight-space"]
#: All searches.
Attack: TypeAlias = (
    SampleAttack
    | Literal["one-gradient", "fgsm", "pgd"]
    | Literal["universal", "random-uniform", "random-gaussian", "random-vertex"]
)
#: Number formats that weights are rounded to.
FloatFormat: TypeAlias = Literal["bf16", "fp16", "tf32", "fp32", "fp8e4m3", "fp8e5m2"]
#: How hardware rounds: to the nearest number of a format, or to either neighbour.
Rounding: TypeAlias = Literal["nearest", "any"]
#: Kinds of threat models.
Kind: TypeAlias = Literal[
    "absolute", "relative", "per-channel", "frobenius", "row-ball",
    "int2", "int3", "int4", "int5", "int6", "int7", "int8", "int9", "int10", "int11", "int12", "int13", "int14", "int15", "int16",
    "int2:per-channel", "int3:per-channel", "int4:per-channel", "int5:per-channel", "int6:per-channel", "int7:per-channel",
    "int8:per-channel", "int9:per-channel", "int10:per-channel", "int11:per-channel", "int12:per-channel", "int13:per-channel",
    "int14:per-channel", "int15:per-channel", "int16:per-channel",
    "format:bf16", "format:fp16", "format:tf32", "format:fp32", "format:fp8e4m3", "format:fp8e5m2",
    "format:bf16:any", "format:fp16:any", "format:tf32:any", "format:fp32:any", "format:fp8e4m3:any", "format:fp8e5m2:any",
]  # fmt: skip
#: Update rules of training.
Optimizer: TypeAlias = Literal["sgd", "adam", "adamw"]
#: What a hit does to a stored word.
Fault: TypeAlias = Literal["flip", "stuck-at-0", "stuck-at-1", "replace"]
