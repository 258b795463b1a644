//! YAML, in and out.
//!
//! Both ways lead through JSON text, so that a number is what somebody wrote and never what a machine
//! made of it. What a scalar means is upstream's reading of YAML; where ours differs, the module says so.

mod read;
mod write;

pub(crate) use read::to_json;
pub(crate) use write::from_json;
