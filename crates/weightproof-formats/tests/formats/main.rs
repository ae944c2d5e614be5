//! Tests of files in one program, which links in the time of one.

mod batch_norm;
mod data;
mod data_mutations;
mod exact;
mod half;
mod onnx_networks;
mod onnxruntime;
#[cfg(feature = "parquet")]
mod parquet;
mod quantized;
mod real_networks;
mod recorded;
mod safetensors;
mod small_convolutional_network;
mod write_networks;
